//! Fetching one blob from many providers at once, verified on arrival.
//!
//! [`plan`] decides which provider fetches which range, and is pure; [`fetch`] performs its effects; [`transfer`] moves one
//! range, reading from the connection through [`buffered_recv`] and writing to the store through [`store_writer`], both in
//! large steps; [`ranges`] converts between chunk ranges and whole groups; [`sequence`] fetches a root and then its children.
//! Bytes reach the store only after verification against the hash, group by group of 16 KiB, so a provider that sends false
//! data wastes one group, is reported with evidence, and is never asked again.
//!
//! # Why not iroh-blobs' downloader
//!
//! It asks the providers of a blob one after another and replaces one only when it fails, so a slow one is never replaced,
//! and several providers are no faster than one.

mod buffered_recv;
mod fetch;
mod plan;
mod ranges;
mod sequence;
mod store_writer;
mod transfer;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use protocol::{BlobHash, NodeId};

use super::{Alpn, DataPath};

pub use sequence::Fetch;

/// A fetch request: content, providers and limits.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub content: Content,
    /// The protocol on which the content is served.
    pub alpn: Alpn,
    /// Initial providers; [`Fetch::offer`] adds more.
    pub providers: Vec<NodeId>,
    /// Largest blob to accept, in bytes.
    pub bytes_max: u64,
    /// Time without progress after which the fetch fails.
    pub stall_timeout: Duration,
}

impl Wanted {
    /// Requests a public blob of at most 1 GiB, with a stall timeout of 30 seconds.
    pub fn blob(hash: BlobHash, providers: Vec<NodeId>) -> Self {
        Self {
            content: Content::Blob(hash),
            alpn: Alpn::public(),
            providers,
            bytes_max: 1 << 30,
            stall_timeout: Duration::from_secs(30),
        }
    }

    /// Requests a public sequence, with the same limits for each of its blobs.
    pub fn sequence(root: BlobHash, providers: Vec<NodeId>) -> Self {
        Self {
            content: Content::Sequence(root),
            ..Self::blob(root, providers)
        }
    }
}

/// The content of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Blob(BlobHash),
    /// A blob that consists of hashes of 32 bytes, and the blobs they name.
    Sequence(BlobHash),
}

/// An event of a fetch. A slow reader misses some; [`Fetched`] has what matters.
#[derive(Clone, Debug)]
pub enum FetchEvent {
    /// The size of a blob is proven.
    Sized {
        blob: BlobHash,
        bytes: u64,
        /// Bytes that were in the store before.
        had: u64,
    },
    /// The first bytes of a blob are verified.
    FirstBytes { blob: BlobHash },
    /// One provider's progress, at most four times a second.
    Provider {
        node: NodeId,
        blob: BlobHash,
        /// Verified bytes from it.
        bytes: u64,
        /// Recent rate, in bytes per second.
        per_s: u64,
        path: Option<DataPath>,
    },
    /// A blob's progress, at most four times a second.
    Progress {
        blob: BlobHash,
        /// Verified bytes in the store.
        have: u64,
        /// Size of the blob.
        bytes: u64,
    },
    /// A provider is no longer used for this blob.
    Gone { node: NodeId, why: ProviderGone },
    /// A provider sent false data.
    Blamed(Blame),
    /// A blob is complete.
    Done { blob: BlobHash, bytes: u64 },
}

/// The reason that a provider is no longer used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderGone {
    /// Sent false data.
    FalseData,
    /// Denied access.
    Refused,
    /// Has nothing of the blob.
    Empty,
    /// Slower than a tenth of the median.
    Slow,
    /// Stopped sending.
    Stalled,
    Unreachable,
}

/// Evidence of false data from a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    pub node: NodeId,
    pub blob: BlobHash,
    /// The size that the provider claimed.
    pub claimed_bytes: u64,
    /// Offset of the first false data.
    pub offset: u64,
    /// A description of the mismatch.
    pub what: String,
}

/// The result of a fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Every provider that sent false data.
    pub blamed: Vec<Blame>,
    /// Size of all blobs together.
    pub bytes: u64,
    /// Bytes that were in the store before.
    pub had: u64,
    /// Verified bytes by provider, including those fetched twice near the end. The first and last group of each blob,
    /// which prove its size, are not counted.
    pub providers: BTreeMap<NodeId, u64>,
}

/// Error of a fetch. Verified bytes stay in the store, and the next fetch continues from them.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No provider is left, or none sends anything.
    #[error("no provider of blob {blob:#} gives anything; {have} bytes of it are here; name other providers")]
    NoProvider {
        blob: BlobHash,
        /// Verified bytes.
        have: u64,
    },
    #[error("blob {blob:#} has {bytes} bytes where at most {bytes_max} are wanted")]
    TooLong {
        blob: BlobHash,
        /// Proven size.
        bytes: u64,
        bytes_max: u64,
    },
    #[error("blob {root:#} is no hash sequence: its {bytes} bytes are not a multiple of 32")]
    NoSequence { root: BlobHash, bytes: u64 },
    /// The store refused the bytes, usually because the disk is full.
    #[error("the store did not take blob {blob:#}: {why}")]
    Store { blob: BlobHash, why: String },
    #[error("the data plane was shut down")]
    Down,
}

/// Providers that sent false data in any fetch.
#[derive(Debug, Default)]
pub(crate) struct Blamed(Mutex<BTreeMap<NodeId, Blame>>);

impl Blamed {
    /// Most entries: node ids are cheap to create.
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
