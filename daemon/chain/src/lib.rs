//! The chain side of a running node: the thread that drives consensus, transaction admission, JSON-RPC, and opening
//! or founding a chain.
//!
//! The rules are in crates `consensus` and `evm`. Here they meet the disk, the network and the clients. Datasets
//! and models are left out.
//!
//! - [`actor`]: the chain thread and the handle to it. Start here.
//! - [`network_events`]: passes network events to the chain thread and to transaction admission.
//! - [`ingress`]: checks, journals and gossips transactions.
//! - [`rpc`]: Ethereum's JSON-RPC, one file per group of methods.
//! - [`open`]: opens a node's data and recovers the consensus machine.
//! - [`genesis`]: genesis files of development networks and of networks to be launched.
//! - [`imported_chain`]: an Ethereum chain imported from a file and served over JSON-RPC, outside any network.
//! - [`beacon`]: the random beacon for storage audits, from block hashes.
//! - [`state`]: the state database on sled, and blocks from the block log.

#![forbid(unsafe_code)]

// Test files that this crate and `gateway` share name this crate `chain` in both.
#[cfg(test)]
extern crate self as chain;

pub mod actor;
pub mod beacon;
pub mod genesis;
pub mod imported_chain;
pub mod ingress;
pub mod network_events;
pub mod open;
pub mod rpc;
pub mod state;
