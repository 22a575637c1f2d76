//! Executes blocks: Ethereum's rules on a chain that the validators order.
//!
//! Pure by rule: the same block on the same state gives the same roots on every node. Blocks, headers, transactions and
//! receipts are Ethereum's, so that wallets, explorers and other clients can read and check them. Where the chain
//! differs from Ethereum it says so in [`chain`] and [`block`], and nowhere else.

#![forbid(unsafe_code)]

pub mod alloc;
pub mod block;
pub mod call;
pub mod chain;
pub mod collision;
pub mod conformance;
pub mod execute;
pub mod fill;
pub mod foreign;
pub mod genesis;
pub mod import;
pub mod ledger;
pub mod light;
pub mod pool_tx;
pub mod seal;
pub mod senders;
pub mod state;
pub mod supply;
pub mod trie;
pub mod view;

#[cfg(test)]
mod tests;
