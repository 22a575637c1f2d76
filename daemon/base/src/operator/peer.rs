//! Requests and responses about connected peers.

use protocol::NodeId;
use serde::{Deserialize, Serialize};

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLine {
    pub id: NodeId,
    pub address: String,
    /// True if this node opened the connection.
    pub outbound: bool,
    /// Name and version of its software, as it claims.
    pub agent: String,
    /// Recent misbehaviour in points; a peer is banned at 100.
    pub offence_points: u32,
}

/// Connects to an address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DialRequest {
    /// A multiaddress such as `/ip4/10.0.0.7/tcp/4001`.
    pub address: String,
}
