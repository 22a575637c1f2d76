//! Peers: whom this node is connected to, and whom it should reach out to.

use protocol::NodeId;
use serde::{Deserialize, Serialize};

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLine {
    pub id: NodeId,
    pub address: String,
    /// Whether we reached out to it.
    pub outbound: bool,
    /// The software it says it runs.
    pub agent: String,
    /// What it did wrong of late; it is banned at 100.
    pub offence_points: u32,
}

/// Asks to reach out to an address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DialAsk {
    /// Such as `/ip4/10.0.0.7/tcp/4001`.
    pub address: String,
}
