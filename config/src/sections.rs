//! Every key: its type, its default, and what it is for. The example file is written from these lines.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Size, Wait};

/// Declares a section once, with documentation that the example file repeats. For example
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
    /// Who this node is.
    Node {
        /// The network it belongs to: dev, test or main. Chosen when the home is made.
        network: String = "dev".to_owned(),
        /// What it calls itself in logs and to its peers.
        moniker: String = "openledger".to_owned(),
    }
}

section! {
    /// How it finds and treats its peers.
    Network {
        /// Where it listens for peers. Port 0 takes a free one.
        listen: Vec<String> = vec!["/ip4/127.0.0.1/tcp/4001".to_owned()],
        /// Peers to reach first and to come back to, such as /dns/node.example/tcp/4001.
        bootstrap: Vec<String> = Vec::new(),
        /// Peers at once.
        max_peers: u32 = 64,
        /// How long a peer may take to answer a question.
        request_timeout: Wait = Wait::millis(10_000),
        /// How long a peer that misbehaved is kept away.
        ban: Wait = Wait::millis(600_000),
    }
}

section! {
    /// The pace of blocks. What is left alone here is as the chain has it.
    Consensus {
        /// An empty block is made after this long without a transaction.
        heartbeat: Wait = Wait::millis(1_000),
        /// Blocks are at least this far apart.
        min_block_interval: Wait = Wait::millis(0),
        /// How long to wait for a proposal.
        timeout_propose: Wait = Wait::millis(1_000),
        /// How long to wait for more prevotes once most are there.
        timeout_prevote: Wait = Wait::millis(500),
        /// How long to wait for more precommits once most are there.
        timeout_precommit: Wait = Wait::millis(500),
        /// Added to each of these with every round that fails.
        timeout_delta: Wait = Wait::millis(500),
    }
}

section! {
    /// Transactions that wait for a block.
    Mempool {
        /// How many there may be.
        max_transactions: u32 = 20_000,
        /// How many of one sender.
        max_per_sender: u32 = 256,
        /// What they may take in memory.
        max_bytes: Size = Size::mib(128),
        /// By how much the price of a transaction that replaces another must be higher.
        min_price_bump_percent: u32 = 10,
    }
}

section! {
    /// The Ethereum JSON-RPC that wallets and tools speak.
    Rpc {
        /// Where it listens, for HTTP and WebSocket alike.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8545)),
        /// The largest request.
        max_body: Size = Size::mib(5),
        /// Calls in one batch.
        max_batch: u32 = 100,
        /// Connections at once.
        max_connections: u32 = 512,
        /// Web pages that may call it, such as `https://wallet.example`; "*" for any.
        allow_origins: Vec<String> = Vec::new(),
    }
}

section! {
    /// What the machine's own tools ask: /healthz, /readyz and /metrics.
    Api {
        /// Where it listens.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8551)),
    }
}

section! {
    /// What is kept on disk.
    Storage {
        /// For how many blocks back old state can be asked for; "archive" for all of them.
        history_blocks: History = History::Blocks(256),
        /// The state is made durable after so many blocks. After a power cut that many are executed again.
        flush_every_blocks: u32 = 64,
        /// Memory for the state on disk.
        cache: Size = Size::mib(256),
        /// Below this much free space the node stops before the disk is full.
        min_free_space: Size = Size::mib(2048),
    }
}

section! {
    /// What is shared with peers: datasets, models, adapters. It has a UDP port of its own.
    Data {
        /// Where peers fetch from. Port 0 takes a free one.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4002)),
        /// What it may take on disk.
        quota: Size = Size::mib(100 * 1024),
        /// What peers may fetch a second, all together; "0 B" for as much as the line gives.
        upload_per_s: Size = Size(0),
        /// What this node may fetch a second; "0 B" for as much as the line gives.
        download_per_s: Size = Size(0),
        /// What it may fetch a second from any one provider; "0 B" for as much as that one gives.
        download_per_provider_per_s: Size = Size(0),
        /// How peers find a way here beyond the address they know: "mdns" on the local network, and one relay of your own,
        /// such as `https://relay.example`, where there is no straight way.
        reach: Vec<String> = Vec::new(),
        /// What it keeps for others who pay for copies; "0 B" for nothing.
        host: Size = Size::mib(10 * 1024),
        /// What such a copy costs per GiB and audit, such as "0.01 OPEN".
        host_price: String = "0 OPEN".to_owned(),
        /// Copies are audited every so many blocks. All nodes of a network must say the same.
        audit_blocks: u32 = 60,
    }
}

section! {
    /// What it says, on stderr.
    Log {
        /// How much: error, warn, info, debug or trace; also per part, such as "info,net=debug".
        level: String = "info".to_owned(),
        /// For people (text) or for programs (json).
        format: LogFormat = LogFormat::Text,
    }
}

impl Data {
    /// The relay, if there is one.
    pub fn relay(&self) -> Option<&str> {
        self.reach.iter().map(String::as_str).find(|way| *way != MDNS)
    }

    /// Whether peers on the local network are looked for.
    pub fn mdns(&self) -> bool {
        self.reach.iter().any(|way| way == MDNS)
    }

    fn check(&self) -> Result<(), String> {
        let relay = |way: &String| way.starts_with("https://") || way.starts_with("http://");
        if let Some(way) = self.reach.iter().find(|way| *way != MDNS && !relay(way)) {
            return Err(format!(
                "`{way}` is no way to be reached; write \"mdns\", or a relay such as \"https://relay.example\""
            ));
        }
        match self.reach.iter().filter(|way| relay(way)).count() {
            0 | 1 => Ok(()),
            count => Err(format!("{count} relays where one is used; leave the others out")),
        }
    }
}

/// The local network, among the ways to be reached.
const MDNS: &str = "mdns";

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[network]`
    pub network: Network,
    /// `[consensus]`
    pub consensus: Consensus,
    /// `[mempool]`
    pub mempool: Mempool,
    /// `[rpc]`
    pub rpc: Rpc,
    /// `[api]`
    pub api: Api,
    /// `[storage]`
    pub storage: Storage,
    /// `[data]`
    pub data: Data,
    /// `[log]`
    pub log: Log,
}

impl Config {
    /// Says what is wrong with values that have the right type and cannot be meant. Told about one changed value at a
    /// time, so it need not say which.
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

/// A section for the example file: name, what it is about, keys with their documentation.
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

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How far back old state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// For this many blocks.
    Blocks(u64),
    /// From the first block on.
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
            _ => Err(D::Error::custom("neither a number of blocks from 1 nor \"archive\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_be_reached_are_the_local_network_and_one_relay() {
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
