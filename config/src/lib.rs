//! How a node is set: typed, few keys, each with a known origin.
//!
//! A value is taken from the first of: a flag, the environment (`OPENLEDGER_SECTION__KEY`), the file `config.toml` in the
//! node's home, the preset of its network, the default. A key that does not exist is an error that names the nearest one
//! that does. What all nodes of a chain must agree on is not here: that is in the genesis file and on the chain.

#![forbid(unsafe_code)]

mod example;
mod layers;
mod networks;
mod sections;
mod units;

pub use example::example;
pub use layers::{LoadError, Loaded, Origin, Setting, ValueError};
pub use networks::{Network, network, networks};
pub use sections::{
    Api, Config, Consensus, Data, History, Log, LogFormat, Mempool, Network as NetworkSection, Node, Rpc, Storage,
};
pub use units::{Size, Wait};

/// The name of the file in a node's home.
pub const FILE: &str = "config.toml";
