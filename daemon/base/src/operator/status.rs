//! The response to a status request.

use protocol::{BlockHash, NodeId};
use serde::{Deserialize, Serialize};

/// Identity and state of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub node_id: NodeId,
    /// Name chosen by the operator.
    pub moniker: String,
    /// Name of the network.
    pub network: String,
    /// Chain id (EIP-155).
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis: BlockHash,
    /// Height of the last durable block.
    pub height: u64,
    /// Highest block that a peer claims, or our own.
    pub best_known_height: u64,
    /// Hash of the last durable block.
    pub head_hash: BlockHash,
    /// State root after it, in hexadecimal.
    pub state_root: String,
    /// Timestamp in its header, in seconds.
    pub head_timestamp_s: u64,
    pub peers: u64,
    /// Round of the height being decided.
    pub round: u32,
    /// Number of voting validators.
    pub validators: u64,
    /// `yes`-or-no text: if this node votes, and if not, why.
    pub signing: String,
    pub mempool_transactions: u64,
    pub mempool_bytes: u64,
    /// Name, version and platform of the software.
    pub version: String,
    pub uptime_s: u64,
}
