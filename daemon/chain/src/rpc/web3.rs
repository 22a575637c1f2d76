//! `web3_`: the version of the client, and Keccak-256.

use alloy_primitives::{B256, Bytes, keccak256};
use jsonrpsee::proc_macros::rpc;

use super::{failure::Failure, param::Hex};

/// Methods of `web3_`.
#[rpc(server, namespace = "web3")]
pub(crate) trait Web3 {
    /// Name, version and platform of this client.
    #[method(name = "clientVersion")]
    fn client_version(&self) -> String;

    /// The Keccak-256 hash of `data`.
    #[method(name = "sha3")]
    fn sha3(&self, data: Hex<Bytes>) -> Result<B256, Failure>;
}

pub(crate) struct Web3;

impl Web3Server for Web3 {
    fn client_version(&self) -> String {
        client_version()
    }

    fn sha3(&self, Hex(data): Hex<Bytes>) -> Result<B256, Failure> {
        Ok(keccak256(data))
    }
}

/// Name, version and platform, in the form of other clients.
pub fn client_version() -> String {
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    format!("openledger/v{}/{os}-{arch}", env!("CARGO_PKG_VERSION"))
}
