//! What a datanet publishes.

use bincode::{Decode, Encode};

use super::StatementId;
use crate::{BlobHash, NodeId, seal::KeyEpoch};

/// Most datasets in one version. Larger datanets publish datasets of datasets.
pub const ENTRIES_MAX: usize = 8192;

/// One version: everything that is in the datanet from now on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Version {
    /// Counted from 1.
    pub number: u64,
    /// The statement that published the one before.
    pub previous: Option<StatementId>,
    /// The datasets, in the order of their roots, each once.
    pub entries: Vec<Entry>,
}

/// One dataset of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The dataset's root.
    pub root: BlobHash,
    /// Who contributed it.
    pub contributor: NodeId,
    /// The proposal it came by; nothing for what the owner or a curator put in directly.
    pub proposal: Option<StatementId>,
    /// The key its shards are sealed under; nothing where everybody may read.
    pub epoch: Option<KeyEpoch>,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nobody has decided.
    Proposed,
    /// It may be published.
    Approved,
    /// It may not; the owner decides if its contributor appeals.
    Declined {
        /// Whether the contributor did.
        appealed: bool,
    },
    /// Its contributor took it back.
    Withdrawn,
    /// Its own licence allows less than the datanet promises: nothing approves it.
    Unlicensed,
}
