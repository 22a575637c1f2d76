//! All configuration keys, with type, default and doc. The example file is generated from these lines.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Size, Wait};

/// Declares a section with docs that are also written to the example file. For example
/// `section! { /// About. Rpc { /// Doc. max_batch: u32 = 100, } }` gives `struct Rpc`, its `Default`, and `Rpc::DOCS`.
macro_rules! section {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:expr,)* }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[doc = $doc])* pub $key: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $name {
            pub(crate) const ABOUT: &[&str] = &[$($about),*];
            pub(crate) const DOCS: &[(&str, &[&str])] = &[$((stringify!($key), &[$($doc),*]),)*];
        }
    };
}

section! {
    /// Identity of this node.
    Node {
        /// Network: dev, test or main. Fixed when the home is created.
        network: String = "dev".to_owned(),
        /// Name of the node in logs and for its peers.
        moniker: String = "openledger".to_owned(),
    }
}

section! {
    /// Peers: where to listen, whom to dial, limits.
    Network {
        /// Addresses to listen on for peers. Port 0 picks a free port.
        listen: Vec<String> = vec!["/ip4/127.0.0.1/tcp/4001".to_owned()],
        /// Peers to dial at start and to redial when disconnected, such as /dns/node.example/tcp/4001.
        bootstrap: Vec<String> = Vec::new(),
        /// Most connected peers.
        max_peers: u32 = 64,
        /// Longest wait for a peer's reply.
        request_timeout: Wait = Wait::millis(10_000),
        /// Time for which a misbehaving peer is banned.
        ban: Wait = Wait::millis(600_000),
    }
}

section! {
    /// Pace of blocks. Keys that are not set keep the chain's values from its genesis.
    Consensus {
        /// Time without transactions after which an empty block is made.
        heartbeat: Wait = Wait::millis(1_000),
        /// Shortest time between two blocks.
        min_block_interval: Wait = Wait::millis(0),
        /// Wait for a proposal.
        timeout_propose: Wait = Wait::millis(1_000),
        /// Wait for more prevotes after two thirds have arrived without a majority.
        timeout_prevote: Wait = Wait::millis(500),
        /// Wait for more precommits after two thirds have arrived without a majority.
        timeout_precommit: Wait = Wait::millis(500),
        /// Added to each timeout with every failed round.
        timeout_delta: Wait = Wait::millis(500),
    }
}

section! {
    /// Limits of the transaction pool.
    Mempool {
        /// Most transactions in the pool.
        max_transactions: u32 = 20_000,
        /// Most transactions of one sender.
        max_per_sender: u32 = 256,
        /// Most memory for the pool.
        max_bytes: Size = Size::mib(128),
        /// Least price increase of a transaction that replaces another with the same nonce.
        min_price_bump_percent: u32 = 10,
    }
}

section! {
    /// Ethereum JSON-RPC for wallets and tools.
    Rpc {
        /// Address to listen on, for HTTP and WebSocket.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8545)),
        /// Largest request body.
        max_body: Size = Size::mib(5),
        /// Most calls in one batch.
        max_batch: u32 = 100,
        /// Most connections at once.
        max_connections: u32 = 512,
        /// Origins of web pages that may call it (CORS), such as `https://wallet.example`; "*" for any.
        allow_origins: Vec<String> = Vec::new(),
    }
}

section! {
    /// Health and metrics for monitoring: /healthz, /readyz and /metrics.
    Api {
        /// Address to listen on.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8551)),
    }
}

section! {
    /// Chain data on disk.
    Storage {
        /// Number of recent blocks whose state can be queried; "archive" for all.
        history_blocks: History = History::Blocks(256),
        /// Blocks between two flushes of the state. After a power cut up to that many blocks are executed again.
        flush_every_blocks: u32 = 64,
        /// Cache of the state database.
        cache: Size = Size::mib(256),
        /// Free disk space below which the node stops.
        min_free_space: Size = Size::mib(2048),
    }
}

section! {
    /// Data plane: datasets, models and adapters shared with peers, over a UDP port of its own.
    Data {
        /// Address that peers fetch from. Port 0 picks a free port.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4002)),
        /// Most disk space for shared data.
        quota: Size = Size::mib(100 * 1024),
        /// Upload limit per second for all peers together; "0 B" for no limit.
        upload_per_s: Size = Size(0),
        /// Download limit per second; "0 B" for no limit.
        download_per_s: Size = Size(0),
        /// Download limit per second and provider; "0 B" for no limit.
        download_per_provider_per_s: Size = Size(0),
        /// More ways for peers to reach this node: "mdns" on the local network, and the URL of your own iroh relay, such as
        /// `https://relay.example`, for nodes that cannot connect directly.
        reach: Vec<String> = Vec::new(),
        /// Disk space offered to others for paid copies; "0 B" offers none.
        host: Size = Size::mib(10 * 1024),
        /// Price of such a copy per GiB and audit, such as "0.01 OPEN".
        host_price: String = "0 OPEN".to_owned(),
        /// Blocks between two audits of a copy. All nodes of a network must use the same value.
        audit_blocks: u32 = 60,
    }
}

section! {
    /// Logging to stderr.
    Log {
        /// Level: error, warn, info, debug or trace; also per target, such as "info,net=debug".
        level: String = "info".to_owned(),
        /// Format: text for people, json for programs.
        format: LogFormat = LogFormat::Text,
    }
}

impl Data {
    /// The URL of the relay, if one is configured.
    pub fn relay(&self) -> Option<&str> {
        self.reach.iter().map(String::as_str).find(|way| *way != MDNS)
    }

    /// True if the node looks for peers on the local network.
    pub fn mdns(&self) -> bool {
        self.reach.iter().any(|way| way == MDNS)
    }

    fn check(&self) -> Result<(), String> {
        let relay = |way: &String| way.starts_with("https://") || way.starts_with("http://");
        if let Some(way) = self.reach.iter().find(|way| *way != MDNS && !relay(way)) {
            return Err(format!(
                "`{way}` is neither \"mdns\" nor a URL; write \"mdns\", or a relay such as \"https://relay.example\""
            ));
        }
        match self.reach.iter().filter(|way| relay(way)).count() {
            0 | 1 => Ok(()),
            count => Err(format!(
                "it has {count} relays and at most one is allowed; remove the others"
            )),
        }
    }
}

/// The word in `data.reach` for the local network.
const MDNS: &str = "mdns";

/// The whole configuration, one field per section of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub node: Node,
    pub network: Network,
    pub consensus: Consensus,
    pub mempool: Mempool,
    pub rpc: Rpc,
    pub api: Api,
    pub storage: Storage,
    pub data: Data,
    pub log: Log,
}

impl Config {
    /// Checks ranges that the types do not express. It is called with one changed value at a time, so the error need not
    /// name the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        let counts = [
            self.network.max_peers,
            self.mempool.max_transactions,
            self.mempool.max_per_sender,
            self.rpc.max_batch,
            self.rpc.max_connections,
            self.storage.flush_every_blocks,
        ];
        let consensus = &self.consensus;
        let waits = [
            self.network.request_timeout,
            consensus.heartbeat,
            consensus.timeout_propose,
            consensus.timeout_prevote,
            consensus.timeout_precommit,
        ];
        if counts.contains(&0)
            || waits.contains(&Wait::default())
            || self.rpc.max_body == Size(0)
            || self.data.quota == Size(0)
        {
            return Err("it must be more than zero".to_owned());
        }
        self.data.check()
    }
}

/// A section for the example file: its name, its doc lines, and its keys with their doc lines.
pub(crate) type SectionDocs = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static [&'static str])],
);

pub(crate) const SECTIONS: [SectionDocs; 9] = [
    ("node", Node::ABOUT, Node::DOCS),
    ("network", Network::ABOUT, Network::DOCS),
    ("consensus", Consensus::ABOUT, Consensus::DOCS),
    ("mempool", Mempool::ABOUT, Mempool::DOCS),
    ("rpc", Rpc::ABOUT, Rpc::DOCS),
    ("api", Api::ABOUT, Api::DOCS),
    ("storage", Storage::ABOUT, Storage::DOCS),
    ("data", Data::ABOUT, Data::DOCS),
    ("log", Log::ABOUT, Log::DOCS),
];

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    /// One JSON object per line.
    Json,
}

/// Depth of the state history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// The state of this many recent blocks.
    Blocks(u64),
    /// The state of all blocks.
    Archive,
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Blocks(count) => to.serialize_u64(*count),
            Self::Archive => to.serialize_str("archive"),
        }
    }
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Count(u64),
            Word(String),
        }
        match Written::deserialize(from) {
            Ok(Written::Count(count)) if count > 0 => Ok(Self::Blocks(count)),
            Ok(Written::Word(word)) if word == "archive" => Ok(Self::Archive),
            _ => Err(D::Error::custom(
                "it is neither a number of blocks, at least 1, nor \"archive\"",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_accepts_mdns_and_at_most_one_relay() {
        let data = |reach: &[&str]| Data {
            reach: reach.iter().map(|way| (*way).to_owned()).collect(),
            ..Data::default()
        };
        let both = data(&["mdns", "https://relay.example"]);
        assert_eq!((both.mdns(), both.relay()), (true, Some("https://relay.example")));
        assert_eq!((both.check(), data(&[]).check()), (Ok(()), Ok(())));
        assert_eq!((data(&[]).mdns(), data(&["mdns"]).relay()), (false, None));
        let wrong = data(&["mdn"]).check().expect_err("no way");
        assert!(wrong.contains("`mdn`") && wrong.contains("\"mdns\""), "{wrong}");
        assert!(data(&["https://a", "https://b"]).check().is_err());
    }
}
