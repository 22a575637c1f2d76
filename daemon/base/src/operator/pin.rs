//! Pins: copies that are kept here and copies that others keep.

use protocol::{Account, BlobHash, NodeId};
use serde::{Deserialize, Serialize};

/// Asks to keep a dataset here, or to have others keep copies of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinAddAsk {
    pub root: BlobHash,
    /// Copies that others keep; none keeps one here.
    pub copies: Option<u16>,
    /// For how long others keep it.
    pub days: u32,
    /// What is paid per GiB and epoch, such as "0.5 OPEN".
    pub price: Option<String>,
    /// Nodes that are asked first.
    pub hosts: Vec<NodeId>,
    /// The account that pays.
    pub account: Option<Account>,
}

/// Asks to let deals go on for longer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewAsk {
    pub root: BlobHash,
    /// How many days beyond those that were agreed on.
    pub days: u32,
}

/// Asks to have copies proven now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifyAsk {
    pub root: BlobHash,
    /// A node that should have it; without one, this node and every host.
    pub node: Option<NodeId>,
}

/// A copy that was checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckedLine {
    pub node: NodeId,
    /// Chunks that were proven.
    pub chunks: u64,
}

/// Everything that is pinned by this node or here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinsAnswer {
    /// Datasets that are kept here.
    pub kept: Vec<KeptLine>,
    /// Deals of this node's own.
    pub deals: Vec<DealLine>,
    /// Copies that this node keeps for others.
    pub hosted: Vec<HostedLine>,
}

/// A dataset that is kept here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptLine {
    pub root: BlobHash,
    pub kept_for: Vec<String>,
    /// Whether all of it is here.
    pub complete: bool,
}

/// A deal of this node's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DealLine {
    /// The deal's id, in hex.
    pub deal: String,
    /// The dataset.
    pub root: BlobHash,
    /// How many copies are wanted.
    pub copies: u16,
    /// How many are held, as far as is known.
    pub held: u64,
    /// Nodes that hold a copy or did so before.
    pub hosts: Vec<HostLine>,
    /// When the deal ends, in milliseconds since 1970.
    pub until_ms: u64,
    /// What is owed for the epochs in which copies were held.
    pub spent: String,
    /// What is set aside.
    pub escrow: String,
    pub over: bool,
}

/// A host of a deal, now or before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostLine {
    pub node: NodeId,
    /// Whether it holds a copy, as far as is known.
    pub holds: bool,
    /// Audits that it passed, of those that are remembered.
    pub held: u64,
    /// Audits that it missed.
    pub missed: u64,
    /// Of those, in a row until now.
    pub misses_in_a_row: u64,
    /// Proofs that it signed and that do not verify.
    pub false_proofs: u64,
    /// The epoch of the last audit.
    pub last_epoch: Option<u64>,
    /// What came of it: `held`, `missed` or `false`.
    pub last_outcome: Option<String>,
    /// Chunks that peers asked it for, and that it served.
    pub served: u64,
    /// Chunks that it did not serve.
    pub not_served: u64,
}

/// A copy that is kept for somebody else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostedLine {
    /// The deal's id, in hex.
    pub deal: String,
    /// The dataset.
    pub root: BlobHash,
    pub owner: NodeId,
    /// Bytes of the copy.
    pub bytes: u64,
    /// Whether the owner knows that it is all here.
    pub registered: bool,
    /// When the deal ends, in milliseconds since 1970.
    pub until_ms: u64,
}

/// How a dataset is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinStatus {
    pub root: BlobHash,
    /// Why it is kept here; empty if it is not.
    pub kept_for: Vec<String>,
    /// This node's deals about it.
    pub deals: Vec<DealLine>,
    /// Copies of it that are kept here for others.
    pub hosted: Vec<HostedLine>,
}
