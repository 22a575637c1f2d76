//! The chain as a running part of a node: the thread that drives consensus, the way in for transactions, JSON-RPC, and
//! what is needed to open or found a chain.
//!
//! The rules are `consensus` and `evm`; here they meet the disk, the network and those who ask. Leaves out datasets and
//! models. Begin with [`actor`], then [`ingress`] and [`rpc`].

#![forbid(unsafe_code)]

// The test node is one file for this crate and for `gateway`: both name this crate alike.
#[cfg(test)]
extern crate self as chain;

pub mod actor;
pub mod beacon;
pub mod feed;
pub mod foreign;
pub mod genesis;
pub mod ingress;
pub mod open;
pub mod rpc;
pub mod state;
