//! Requests and responses about datanets.

use protocol::{Account, BlobHash, DatanetId, NodeId};
use serde::{Deserialize, Serialize};

/// Names a datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatanetRequest {
    pub id: DatanetId,
}

/// Asks the node `from` about a datanet that is not known here, and joins it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    pub id: DatanetId,
    pub from: NodeId,
}

/// Publishes a statement in a datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SayRequest {
    pub id: DatanetId,
    pub what: DatanetVerb,
}

/// The terms of a new datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateRequest {
    pub name: String,
    /// The least licence that everything in it must have.
    pub licence: String,
    /// True if only members may read.
    pub permissioned: bool,
    /// `open`, `curated` or `members`.
    pub contribution: String,
    /// Nodes that approve proposals besides the owner.
    pub curators: Vec<NodeId>,
    /// The owner's account on the chain.
    pub account: Option<Account>,
}

/// A membership to be granted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantRequest {
    pub node: NodeId,
    /// `reader`, `contributor` or `curator`.
    pub role: String,
    /// The node's sealing key in hex; this node requests it from that node if `None`.
    pub key: Option<String>,
    pub days: u32,
}

/// A statement in a datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum DatanetVerb {
    /// Makes a node a member.
    Grant(GrantRequest),
    /// Ends a membership.
    Revoke { node: NodeId },
    /// Introduces a new content key, as after a leak.
    Rotate,
    /// Proposes a dataset for the datanet.
    Propose {
        root: BlobHash,
        licence: String,
        /// The account that is paid for it.
        account: Option<Account>,
    },
    /// Decides about a proposal.
    Decide {
        proposal: BlobHash,
        /// True to approve, false to decline.
        approve: bool,
        why: String,
    },
    /// Withdraws one's own proposal.
    Withdraw { proposal: BlobHash },
    /// Asks the owner to reconsider a declined proposal.
    Appeal { proposal: BlobHash, why: String },
    /// Publishes a version: the previous one, plus what is approved, plus these.
    Publish {
        /// Datasets that the owner or a curator adds directly.
        roots: Vec<BlobHash>,
    },
    /// Stops serving a dataset, for good.
    Bury { root: BlobHash, why: String },
}

/// A datanet as this node knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatanetResponse {
    pub id: DatanetId,
    pub name: String,
    pub owner: NodeId,
    /// `public` or `permissioned`.
    pub access: String,
    /// Contribution policy: `open`, `curated` or `members`.
    pub contribution: String,
    /// The least licence that everything in it has.
    pub licence: String,
    /// Epoch of the key that encrypts new shards.
    pub epoch: u32,
    /// True if that key is on this node.
    pub has_key: bool,
    /// Rights of this node, of `reads`, `contributes`, `approves` and `owns`.
    pub may: Vec<String>,
    /// The current version.
    pub version: Option<VersionLine>,
    /// Datasets published in any version.
    pub published: Vec<BlobHash>,
    pub proposals: Vec<ProposalLine>,
    /// Number of statements known here.
    pub statements: u64,
}

/// A published version of a datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionLine {
    /// Counted from 1.
    pub number: u64,
    /// Number of datasets in it.
    pub datasets: u64,
}

/// A proposal and its state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProposalLine {
    /// Hash of the statement that made it.
    pub proposal: BlobHash,
    pub root: BlobHash,
    pub contributor: NodeId,
    pub licence: String,
    /// `proposed`, `approved`, `declined`, `appealed`, `withdrawn` or `unlicensed`.
    pub standing: String,
}

/// A member of a datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberLine {
    pub node: NodeId,
    /// Epoch of the first key that the member has.
    pub epoch: u32,
    /// End of the membership, in milliseconds since 1970.
    pub until_ms: u64,
    /// True if the member decides about proposals.
    pub approves: bool,
}
