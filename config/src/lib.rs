//! The configuration of a node: typed, under 40 keys, each with a known origin.
//!
//! A value comes from the first of: a flag, the environment (`OPENLEDGER_SECTION__KEY`), the file `config.toml` in the
//! node's home, the preset of its network, the default. An unknown key is an error that suggests the nearest known one.
//! Parameters that all nodes of a chain must agree on are not configuration: they are in the genesis file and on the chain.
//!
//! To add a key, add a line with its doc, type and default in `sections.rs`; the example file and the errors follow.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let home = std::env::temp_dir().join("openledger-doc-example");
//! let flags = [("rpc.listen".to_owned(), "127.0.0.1:9545".to_owned())];
//! let loaded = config::Config::load(&home, None, [], flags)?;
//! assert_eq!(loaded.config.rpc.listen.port(), 9545);
//! assert_eq!(loaded.origin("rpc.listen").unwrap().to_string(), "flag rpc.listen");
//! # Ok(())
//! # }
//! ```

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

/// Name of the configuration file in a node's home.
pub const FILE: &str = "config.toml";
