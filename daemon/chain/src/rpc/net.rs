//! `net_`: what this node says about its network.

use alloy_primitives::U64;
use jsonrpsee::proc_macros::rpc;

use super::{Rpc, failure::Failure};

/// Methods under `net_`.
#[rpc(server, namespace = "net")]
pub(crate) trait Net {
    /// The chain id, in decimal.
    #[method(name = "version")]
    fn version(&self) -> String;

    /// How many peers are connected.
    #[method(name = "peerCount")]
    fn peer_count(&self) -> Result<U64, Failure>;

    /// Whether it takes connections.
    #[method(name = "listening")]
    fn listening(&self) -> bool;
}

impl NetServer for Rpc {
    fn version(&self) -> String {
        self.head().view.spec().chain_id.to_string()
    }

    fn peer_count(&self) -> Result<U64, Failure> {
        Ok(U64::from(self.ground.peers()))
    }

    fn listening(&self) -> bool {
        true
    }
}
