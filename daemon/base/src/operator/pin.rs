//! Requests and responses about pins: copies kept here, and copies kept by others.

use protocol::{Account, BlobHash, NodeId};
use serde::{Deserialize, Serialize};

/// Pins a dataset here, or makes a deal with others to keep copies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinAddRequest {
    pub root: BlobHash,
    /// Number of copies that others keep; `None` to keep one here.
    pub copies: Option<u16>,
    /// Duration of the deal.
    pub days: u32,
    /// Price per GiB and epoch, such as "0.5 OPEN".
    pub price: Option<String>,
    /// Hosts to ask first.
    pub hosts: Vec<NodeId>,
    /// The account that pays.
    pub account: Option<Account>,
}

/// Extends deals.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewRequest {
    pub root: BlobHash,
    /// Days beyond those agreed on.
    pub days: u32,
}

/// Audits copies now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifyRequest {
    pub root: BlobHash,
    /// The node to audit; `None` for this node and every host.
    pub node: Option<NodeId>,
}

/// A copy that was audited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckedLine {
    pub node: NodeId,
    /// Number of proven chunks.
    pub chunks: u64,
}

/// All pins of this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinsResponse {
    /// Datasets pinned here.
    pub kept: Vec<KeptLine>,
    /// Deals that this node made.
    pub deals: Vec<DealLine>,
    /// Copies that this node hosts for others.
    pub hosted: Vec<HostedLine>,
}

/// A dataset pinned here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptLine {
    pub root: BlobHash,
    pub kept_for: Vec<String>,
    /// True if all its blobs are here.
    pub complete: bool,
}

/// A deal that this node made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DealLine {
    /// Id of the deal, in hex.
    pub deal: String,
    pub root: BlobHash,
    /// Number of copies wanted.
    pub copies: u16,
    /// Number of copies held, as far as known.
    pub held: u64,
    /// Hosts with a copy, now or earlier.
    pub hosts: Vec<HostLine>,
    /// End of the deal, in milliseconds since 1970.
    pub until_ms: u64,
    /// Amount owed for the epochs in which copies were held.
    pub spent: String,
    /// Amount in escrow.
    pub escrow: String,
    pub over: bool,
}

/// A host of a deal, current or former.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostLine {
    pub node: NodeId,
    /// True if it has a copy, as far as known.
    pub holds: bool,
    /// Passed audits, of those remembered.
    pub held: u64,
    /// Missed audits, of those remembered.
    pub missed: u64,
    /// Missed audits in a row until now.
    pub misses_in_a_row: u64,
    /// Signed proofs that do not verify.
    pub false_proofs: u64,
    /// Epoch of the last audit.
    pub last_epoch: Option<u64>,
    /// Outcome of the last audit: `held`, `missed` or `false`.
    pub last_outcome: Option<String>,
    /// Chunks that peers requested from it and got.
    pub served: u64,
    /// Chunks that peers requested from it and did not get.
    pub not_served: u64,
}

/// A copy hosted for another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostedLine {
    /// Id of the deal, in hex.
    pub deal: String,
    pub root: BlobHash,
    pub owner: NodeId,
    /// Size of the copy in bytes.
    pub bytes: u64,
    /// True if the owner knows that the copy is complete.
    pub registered: bool,
    /// End of the deal, in milliseconds since 1970.
    pub until_ms: u64,
}

/// The pins of one dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinStatus {
    pub root: BlobHash,
    /// Reasons why it is pinned here; empty if it is not.
    pub kept_for: Vec<String>,
    pub deals: Vec<DealLine>,
    /// Copies of it hosted here for others.
    pub hosted: Vec<HostedLine>,
}
