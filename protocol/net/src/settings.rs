//! The network's configuration, and the names that separate chains.

use std::{fmt, time::Duration};

use libp2p::{Multiaddr, StreamProtocol};
use protocol::crypto::Domain;

use crate::{Topic, data::AddressBook};

/// The configuration of [`crate::Net::start`].
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The seed of the node key, whose public key is the [`protocol::NodeId`].
    pub seed: Seed,
    /// Listen addresses, such as `/ip4/0.0.0.0/tcp/4001`. Port 0 picks a free port.
    pub listen: Vec<String>,
    /// Addresses that are dialled first and kept connected, such as `/ip4/10.0.0.7/tcp/4001`.
    pub bootstrap: Vec<String>,
    pub chain: ChainTag,
    /// The data plane's address book. The network fills it with its peers' data addresses and tells them its ports.
    pub data: Option<AddressBook>,
    pub limits: Limits,
}

impl NetConfig {
    /// Returns the configuration of a node on `chain` that listens on a free loopback port and has no bootstrap
    /// addresses.
    pub fn new(seed: [u8; 32], chain: ChainTag) -> Self {
        Self {
            seed: Seed(seed),
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            bootstrap: Vec::new(),
            chain,
            data: None,
            limits: Limits::default(),
        }
    }
}

/// A key seed. `Debug` does not print it.
#[derive(Clone)]
pub struct Seed(pub [u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// The identity of a chain. Protocol names and topics contain it, so nodes of different chains cannot talk.
///
/// ```
/// use net::ChainTag;
///
/// let chain = ChainTag { chain_id: 7, genesis: [9; 32] };
/// assert_eq!(chain.domain().chain_id, 7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTag {
    /// The EIP-155 chain id.
    pub chain_id: u64,
    /// The hash of the genesis block.
    pub genesis: [u8; 32],
}

impl ChainTag {
    /// Returns the signature domain of this chain.
    pub fn domain(&self) -> Domain {
        Domain {
            chain_id: self.chain_id,
            genesis: self.genesis,
        }
    }

    /// Returns the protocol version string for `identify`: the full chain identity, so that a peer can report the
    /// difference.
    pub(crate) fn greeting(&self) -> String {
        format!("openledger/1/{}/{}", self.chain_id, hex(&self.genesis))
    }

    /// Parses a [`Self::greeting`]; returns `None` for other software.
    pub(crate) fn from_greeting(text: &str) -> Option<(u64, &str)> {
        let (chain_id, genesis) = text.strip_prefix("openledger/1/")?.split_once('/')?;
        Some((chain_id.parse().ok()?, genesis))
    }

    pub(crate) fn topic(&self, topic: Topic) -> String {
        let name = match topic {
            Topic::Votes => "votes",
            Topic::Transactions => "transactions",
            Topic::Blocks => "blocks",
        };
        format!("{}/{name}", self.prefix())
    }

    pub(crate) fn protocol(&self, name: &str) -> StreamProtocol {
        StreamProtocol::try_from_owned(format!("{}/{name}/1", self.prefix())).expect("it begins with a slash")
    }

    pub(crate) fn prefix(&self) -> String {
        format!("/openledger/{}/{}", self.chain_id, hex(&self.genesis[..8]))
    }
}

/// Bounds on the resources that peers can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connected peers, in both directions together.
    pub peers_max: u32,
    /// Largest direct message or request.
    pub message_bytes_max: usize,
    /// Largest reply.
    pub response_bytes_max: usize,
    /// Most bytes queued for one peer. Further messages to it are refused.
    pub queued_bytes_max: usize,
    /// Most events queued for the node. Beyond that, gossip is dropped and streams are throttled.
    pub events_max: usize,
    pub request_timeout: Duration,
    /// Duration of a ban.
    pub ban: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers_max: 64,
            message_bytes_max: 4 << 20,
            response_bytes_max: 16 << 20,
            queued_bytes_max: 16 << 20,
            events_max: 4096,
            request_timeout: Duration::from_secs(10),
            ban: Duration::from_secs(600),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Error of starting the network.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("`{text}` is not an address; write one such as /ip4/127.0.0.1/tcp/4001 or /dns/node.example/tcp/4001")]
    Address { text: String },
    /// The address is in use, or not one of this machine.
    #[error("could not listen on {address}: {why}; is another node running, or the port taken?")]
    Listen { address: String, why: String },
    #[error("could not start the transport: {0}")]
    Transport(String),
}

pub(crate) fn parse_address(text: &str) -> Result<Multiaddr, StartError> {
    text.parse().map_err(|_| StartError::Address { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_parsed_and_other_software_is_recognised() {
        let chain = ChainTag {
            chain_id: 7,
            genesis: [0xab; 32],
        };
        assert_eq!(
            ChainTag::from_greeting(&chain.greeting()),
            Some((7, "ab".repeat(32).as_str()))
        );
        assert_eq!(ChainTag::from_greeting("ipfs/0.1.0"), None);
    }

    #[test]
    fn debug_output_does_not_contain_the_seed() {
        let config = NetConfig::new(
            [0x5e; 32],
            ChainTag {
                chain_id: 1,
                genesis: [0; 32],
            },
        );
        assert!(format!("{config:?}").contains("Seed(..)"));
    }
}
