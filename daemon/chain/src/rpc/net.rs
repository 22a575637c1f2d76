//! `net_`: the network of this node.

use alloy_primitives::U64;
use jsonrpsee::proc_macros::rpc;

use super::{Rpc, failure::Failure};

/// Methods of `net_`.
#[rpc(server, namespace = "net")]
pub(crate) trait Net {
    /// The chain id in decimal.
    #[method(name = "version")]
    fn version(&self) -> String;

    /// Number of connected peers.
    #[method(name = "peerCount")]
    fn peer_count(&self) -> Result<U64, Failure>;

    /// True, because a node always accepts connections.
    #[method(name = "listening")]
    fn listening(&self) -> bool;
}

impl NetServer for Rpc {
    fn version(&self) -> String {
        self.head().view.spec().chain_id.to_string()
    }

    fn peer_count(&self) -> Result<U64, Failure> {
        Ok(U64::from(self.backend.peers()))
    }

    fn listening(&self) -> bool {
        true
    }
}
