//! One blob from many providers at once, verified as it arrives.
//!
//! [`plan`] decides who fetches which range when, and is pure; [`fetch`] performs it; [`transfer`] moves one range, which
//! [`inflow`] takes from the connection and [`inlet`] gives to the store, both in long strides; [`extent`] says in whole
//! groups what is somewhere; [`sequence`] runs a root and then its children. Bytes reach the store only after they were
//! verified against the name, group by group of 16 KiB, so a provider that lies costs one group, is named with the
//! evidence, and never asked again.

mod extent;
mod fetch;
mod inflow;
mod inlet;
mod plan;
mod sequence;
mod transfer;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use protocol::{BlobHash, NodeId};

use super::{Alpn, DataPath};

pub use sequence::Fetch;

/// What to fetch, and from whom.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What.
    pub content: Content,
    /// On which protocol it is served.
    pub alpn: Alpn,
    /// Who is said to have it; more can be named later.
    pub providers: Vec<NodeId>,
    /// The longest blob that is taken.
    pub bytes_max: u64,
    /// How long to go on without any progress before giving up.
    pub patience: Duration,
}

impl Wanted {
    /// A blob for everybody, of at most 1 GiB, with half a minute of patience.
    pub fn blob(hash: BlobHash, providers: Vec<NodeId>) -> Self {
        Self {
            content: Content::Blob(hash),
            alpn: Alpn::public(),
            providers,
            bytes_max: 1 << 30,
            patience: Duration::from_secs(30),
        }
    }

    /// A sequence for everybody, with the same limits for each of its blobs.
    pub fn sequence(root: BlobHash, providers: Vec<NodeId>) -> Self {
        Self {
            content: Content::Sequence(root),
            ..Self::blob(root, providers)
        }
    }
}

/// One blob, or a blob that lists others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Just this one.
    Blob(BlobHash),
    /// This one, which is hashes of 32 bytes each, and the blobs of those hashes.
    Sequence(BlobHash),
}

/// What happens during a fetch. Who does not listen misses some; what must not be missed is in [`Fetched`], too.
#[derive(Clone, Debug)]
pub enum FetchEvent {
    /// The size of a blob is proven.
    Sized {
        /// Which blob.
        blob: BlobHash,
        /// Its bytes.
        bytes: u64,
        /// Those that were in the store already.
        had: u64,
    },
    /// The first bytes of a blob are verified.
    FirstBytes {
        /// Which blob.
        blob: BlobHash,
    },
    /// How one provider does, at most four times a second.
    Provider {
        /// Which.
        node: NodeId,
        /// Of which blob.
        blob: BlobHash,
        /// Verified bytes it has given.
        bytes: u64,
        /// Bytes a second lately.
        per_s: u64,
        /// How they come.
        path: Option<DataPath>,
    },
    /// A blob's progress, at most four times a second.
    Progress {
        /// Which blob.
        blob: BlobHash,
        /// Verified bytes in the store.
        have: u64,
        /// All of its bytes.
        bytes: u64,
    },
    /// A provider is not asked for this blob any more.
    Gone {
        /// Which.
        node: NodeId,
        /// Why.
        why: ProviderGone,
    },
    /// A provider sent what is not so.
    Blamed(Blame),
    /// A blob is whole.
    Done {
        /// Which.
        blob: BlobHash,
        /// Its bytes.
        bytes: u64,
    },
}

/// Why a provider is not asked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderGone {
    /// It sent what is not so.
    Lied,
    /// It does not let us have it.
    Refused,
    /// It has nothing of it.
    Empty,
    /// It gave less than a tenth of what the others give.
    Slow,
    /// It stopped in the middle.
    Stalled,
    /// It cannot be reached.
    Unreachable,
}

/// A lie, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    /// Who.
    pub node: NodeId,
    /// About which blob.
    pub blob: BlobHash,
    /// The size it claimed for it.
    pub claimed_bytes: u64,
    /// From where on what it sent does not match.
    pub offset: u64,
    /// What does not match.
    pub what: String,
}

/// What a fetch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Every lie on the way.
    pub blamed: Vec<Blame>,
    /// The bytes of all blobs.
    pub bytes: u64,
    /// Those that were in the store before.
    pub had: u64,
    /// Verified bytes by provider: what was missing and what was fetched twice near the end, but for the first and last
    /// group of each blob, which prove its size.
    pub providers: BTreeMap<NodeId, u64>,
}

/// Why a fetch ended without the blob. What was verified stays in the store, and the next fetch goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody left to ask, or nobody gives anything.
    #[error("no provider of blob {blob:#} gives anything; {have} bytes of it are here; name other providers")]
    NoProvider {
        /// Which blob.
        blob: BlobHash,
        /// What is verified of it.
        have: u64,
    },
    /// Longer than allowed.
    #[error("blob {blob:#} has {bytes} bytes where at most {bytes_max} are wanted")]
    TooLong {
        /// Which blob.
        blob: BlobHash,
        /// Its proven size.
        bytes: u64,
        /// What is allowed.
        bytes_max: u64,
    },
    /// Not a list of hashes.
    #[error("blob {root:#} is no hash sequence: its {bytes} bytes are not a multiple of 32")]
    NoSequence {
        /// The root.
        root: BlobHash,
        /// Its size.
        bytes: u64,
    },
    /// The store did not take it: a full disk, most often.
    #[error("the store did not take blob {blob:#}: {why}")]
    Store {
        /// Which blob.
        blob: BlobHash,
        /// What it said.
        why: String,
    },
    /// The data plane was shut down.
    #[error("the data plane was shut down")]
    Down,
}

/// Who was caught lying, in any fetch.
#[derive(Debug, Default)]
pub(crate) struct Blamed(Mutex<BTreeMap<NodeId, Blame>>);

impl Blamed {
    /// Names are cheap to make, so only so many are remembered.
    const REMEMBERED: usize = 4096;

    fn note(&self, blame: &Blame) {
        let mut blamed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if blamed.len() < Self::REMEMBERED {
            blamed.insert(blame.node, blame.clone());
        }
    }

    fn has(&self, node: NodeId) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&node)
    }

    pub(crate) fn list(&self) -> Vec<NodeId> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }
}
