//! The `openledger` program: the node assembled from its crates, the command line, the wallet and the development network.

#![forbid(unsafe_code)]

pub mod cli;
pub mod devnet;
pub mod node;
mod telemetry;
pub mod wallet;
