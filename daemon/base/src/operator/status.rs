//! What a node is and where it stands.

use protocol::{BlockHash, NodeId};
use serde::{Deserialize, Serialize};

/// What a node is and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub node_id: NodeId,
    /// What its operator calls it.
    pub moniker: String,
    /// The network it is on, by name.
    pub network: String,
    /// EIP-155.
    pub chain_id: u64,
    /// The hash of block 0.
    pub genesis: BlockHash,
    /// The height of the last durable block.
    pub height: u64,
    /// The highest block that a peer claims, or our own.
    pub best_known_height: u64,
    /// The hash of the last durable block.
    pub head_hash: BlockHash,
    /// The root of the state after it, in hexadecimal.
    pub state_root: String,
    /// The seconds in its header.
    pub head_timestamp_s: u64,
    /// Peers that are connected.
    pub peers: u64,
    /// The round of the height being decided.
    pub round: u32,
    /// How many validators vote.
    pub validators: u64,
    /// Whether this node votes, and why not.
    pub signing: String,
    pub mempool_transactions: u64,
    pub mempool_bytes: u64,
    /// Name, version and platform of the software.
    pub version: String,
    pub uptime_s: u64,
}
