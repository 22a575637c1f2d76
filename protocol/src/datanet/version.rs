//! Published versions of a datanet, and the status of proposals.

use bincode::{Decode, Encode};

use super::StatementId;
use crate::{BlobHash, NodeId, seal::KeyEpoch};

/// Most datasets in one version.
pub const ENTRIES_MAX: usize = 8192;

/// One version: the complete list of the datanet's datasets.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Version {
    /// Counted from 1.
    pub number: u64,
    /// The statement that published the previous version.
    pub previous: Option<StatementId>,
    /// The datasets, in ascending order of their roots, without duplicates.
    pub entries: Vec<Entry>,
}

/// One dataset in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    pub root: BlobHash,
    pub contributor: NodeId,
    /// The proposal that it comes from; `None` if the owner or a curator added it directly.
    pub proposal: Option<StatementId>,
    /// The key epoch that its shards are sealed under; `None` in a public datanet.
    pub epoch: Option<KeyEpoch>,
}

/// The status of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProposalStatus {
    /// No decision yet.
    Proposed,
    /// May be published.
    Approved,
    /// May not be published. The owner decides if the contributor appeals.
    Declined {
        /// True if the contributor appealed.
        appealed: bool,
    },
    /// Taken back by its author.
    Withdrawn,
    /// Its licence allows less than the datanet's. No approval changes that.
    Unlicensed,
}
