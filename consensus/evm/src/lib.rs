//! Executes blocks: Ethereum's rules, on blocks that the validators order.
//!
//! Blocks, headers, transactions and receipts are Ethereum's, so wallets, explorers and other clients can read and
//! check them. Where the chain differs from Ethereum, [`chain`] and [`block`] say so. The crate is pure: the same
//! block on the same state gives the same roots on every node. Database and block log come in through the traits
//! [`state::Kv`] and [`view::BlockSource`].
//!
//! # Modules
//!
//! The chain of this project:
//! - [`ledger`]: implements `consensus::execution::Execution`: builds, verifies, commits and replays blocks. Start
//!   here.
//! - [`block`]: encoding of blocks and the rules of their headers. [`chain`]: fork schedule and fee rules of a
//!   chain.
//! - [`genesis`]: the genesis file, the first block and the system contracts. [`alloc`]: genesis accounts as state
//!   changes.
//! - [`pool_tx`]: checks on transactions before they enter the mempool. [`senders`]: a cache of recovered senders.
//! - [`light`]: proofs of an account that are checked without a node. [`supply`]: the sum of balances.
//!
//! Execution:
//! - [`execute`]: runs all transactions of a block. [`fill`]: picks the transactions that are valid and fit.
//! - [`seal`]: execution results in a header. [`call`]: one transaction outside a block. [`collision`]: EIP-7610.
//!
//! State:
//! - [`state`]: accounts, storage and code with a window of history. [`trie`]: the Merkle-Patricia trie below it.
//! - [`view`]: reads for JSON-RPC: blocks, receipts, calls, estimates, traces, simulations.
//!
//! Other chains:
//! - [`imported_chain`]: an Ethereum chain imported from a file. [`import`]: the checks on each of its blocks.
//! - [`conformance`]: runs Ethereum's own test files.

#![forbid(unsafe_code)]

pub mod alloc;
pub mod block;
pub mod call;
pub mod chain;
pub mod collision;
pub mod conformance;
pub mod execute;
pub mod fill;
pub mod genesis;
pub mod import;
pub mod imported_chain;
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
