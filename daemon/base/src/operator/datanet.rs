//! Datanets: founded, joined, spoken in, looked at.

use protocol::{Account, BlobHash, DatanetId, NodeId};
use serde::{Deserialize, Serialize};

/// Names a datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatanetAsk {
    pub id: DatanetId,
}

/// Asks a member about a datanet that is not known here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinAsk {
    pub id: DatanetId,
    pub from: NodeId,
}

/// Says something in a datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SayAsk {
    pub id: DatanetId,
    pub what: DatanetVerb,
}

/// Terms of a datanet that is to be founded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateAsk {
    pub name: String,
    /// What everything in it may at least be used for.
    pub licence: String,
    /// Whether only members read.
    pub permissioned: bool,
    /// `open`, `curated` or `members`.
    pub contribution: String,
    /// Nodes that approve beside the owner.
    pub curators: Vec<NodeId>,
    /// The owner's account.
    pub account: Option<Account>,
}

/// A membership that is to be given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantAsk {
    pub node: NodeId,
    /// `reader`, `contributor` or `curator`.
    pub role: String,
    /// The node's own key in hex; it is asked for if not given.
    pub key: Option<String>,
    pub days: u32,
}

/// What is said in a datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum DatanetVerb {
    /// A node becomes a member.
    Grant(GrantAsk),
    /// A node is no member any more.
    Revoke { node: NodeId },
    /// A new key, as after a leak.
    Rotate,
    /// A dataset for the datanet.
    Propose {
        root: BlobHash,
        licence: String,
        /// The account that is paid for it.
        account: Option<Account>,
    },
    /// What to do with a proposal.
    Decide {
        proposal: BlobHash,
        /// Approved, or declined.
        approve: bool,
        why: String,
    },
    /// A proposal is taken back.
    Withdraw { proposal: BlobHash },
    /// The owner should look at a declined proposal.
    Appeal { proposal: BlobHash, why: String },
    /// A version: what was in the one before, what is approved, and these.
    Publish {
        /// Datasets that the owner or a curator puts in directly.
        roots: Vec<BlobHash>,
    },
    /// A dataset is served no longer.
    Bury { root: BlobHash, why: String },
}

/// A datanet as this node sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatanetAnswer {
    pub id: DatanetId,
    pub name: String,
    pub owner: NodeId,
    /// `public` or `permissioned`.
    pub access: String,
    /// Who may add: `open`, `curated` or `members`.
    pub contribution: String,
    /// What everything in it may be used for.
    pub licence: String,
    /// The key under which new shards are sealed.
    pub epoch: u32,
    /// Whether that key is here.
    pub has_key: bool,
    /// What this node may do: of `reads`, `contributes`, `approves` and `owns`.
    pub may: Vec<String>,
    /// The version that counts.
    pub version: Option<VersionLine>,
    /// What is published, in any version.
    pub published: Vec<BlobHash>,
    pub proposals: Vec<ProposalLine>,
    /// Statements that are known here.
    pub statements: u64,
}

/// A version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionLine {
    /// Counted from 1.
    pub number: u64,
    /// Datasets in it.
    pub datasets: u64,
}

/// A proposal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProposalLine {
    /// The name of the statement that made it.
    pub proposal: BlobHash,
    /// The dataset.
    pub root: BlobHash,
    pub contributor: NodeId,
    pub licence: String,
    /// `proposed`, `approved`, `declined`, `appealed`, `withdrawn` or `unlicensed`.
    pub standing: String,
}

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberLine {
    pub node: NodeId,
    /// The first key that is theirs.
    pub epoch: u32,
    /// When it ends, in milliseconds since 1970.
    pub until_ms: u64,
    /// Whether it decides about proposals.
    pub approves: bool,
}
