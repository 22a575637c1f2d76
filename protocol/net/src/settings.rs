//! What a network is started with, and the names that keep chains apart.

use std::{fmt, time::Duration};

use libp2p::{Multiaddr, StreamProtocol};
use protocol::crypto::Domain;

use crate::{Topic, data::AddressBook};

/// What a node needs to join.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The secret half of the node key; its public half is the [`protocol::NodeId`].
    pub seed: Seed,
    /// Where to listen, such as `/ip4/0.0.0.0/tcp/4001`. Port 0 takes a free one.
    pub listen: Vec<String>,
    /// Nodes to reach first and to come back to, such as `/ip4/10.0.0.7/tcp/4001`.
    pub bootstrap: Vec<String>,
    /// The chain this node is on.
    pub chain: ChainTag,
    /// The data plane's book, which this node's peers are entered in, and whose ports they are told.
    pub data: Option<AddressBook>,
    /// What may be large, and how large.
    pub limits: Limits,
}

impl NetConfig {
    /// A node on `chain` that listens on a free loopback port and knows nobody.
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

/// A secret that logs do not show.
#[derive(Clone)]
pub struct Seed(pub [u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// What tells a chain from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTag {
    /// The chain id wallets know it by.
    pub chain_id: u64,
    /// The hash of its first block.
    pub genesis: [u8; 32],
}

impl ChainTag {
    /// What messages on this chain are signed for.
    pub fn domain(&self) -> Domain {
        Domain {
            chain_id: self.chain_id,
            genesis: self.genesis,
        }
    }

    /// What `identify` carries, in full, so that the other side can say what differs.
    pub(crate) fn greeting(&self) -> String {
        format!("openledger/1/{}/{}", self.chain_id, hex(&self.genesis))
    }

    /// Reads a [`Self::greeting`]; `None` if the other side is no node of this software.
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

/// Bounds on what peers can make this node hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Peers at once, in both directions together.
    pub peers_max: u32,
    /// A direct message or a request.
    pub message_bytes_max: usize,
    /// A response.
    pub response_bytes_max: usize,
    /// What waits to be sent to one peer before messages to it are dropped.
    pub queued_bytes_max: usize,
    /// Events that wait for the node before gossip is dropped and streams are held back.
    pub events_max: usize,
    /// How long a question may stay unanswered.
    pub request_timeout: Duration,
    /// How long a ban lasts.
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

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not an address.
    #[error("`{text}` is not an address; write one such as /ip4/127.0.0.1/tcp/4001 or /dns/node.example/tcp/4001")]
    Address {
        /// What was given.
        text: String,
    },
    /// The address is taken, or not of this machine.
    #[error("could not listen on {address}: {why}; is another node running, or the port taken?")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        why: String,
    },
    /// The transport could not be made.
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
    fn a_greeting_reads_back_and_another_software_has_none() {
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
    fn the_seed_is_not_in_the_logs() {
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
