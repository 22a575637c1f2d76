//! The protocol: everything that two nodes must agree on. Ids, units, encodings, signatures, messages, and the state
//! machines of the pin market.
//!
//! The crate is pure: no clock, file, socket, thread or randomness, and no map whose iteration order varies.
//! `.clippy.toml` beside it bans them, each with the reason. Time and random bytes are arguments, so a simulator can replay
//! a whole network from one seed.
//!
//! # Where to change what
//!
//! | module | content |
//! |---|---|
//! | [`id`], [`mod@unit`], [`time`] | typed hashes and keys, amounts of OPEN, points in time and heights |
//! | [`codec`] | the bincode layout, with size limits |
//! | [`crypto`] | hashes and signatures with domain separation; [`crypto::Signed`] |
//! | [`message`] | what nodes send each other: announcements, chain, votes, datanets, pins |
//! | [`manifest`], [`licence`], [`duplicate`] | datasets: description, permitted uses, duplicate records |
//! | [`datanet`], [`seal`] | datanets: membership and versions; encryption of permissioned shards |
//! | [`proof`], [`machine`], [`receipt`] | pins: proofs of possession, the parties' state machines, signed results |
//! | [`event`] | facts about a node for logs, metrics and the UI |
//!
//! A newcomer reads [`crypto`], then [`message::vote`] for the chain or [`machine`] for storage deals.
//!
//! # Glossary
//!
//! - **root**: the hash that names a whole: of a dataset (its hash sequence) or of a blob's BLAKE3 tree.
//! - **shard**: one blob of a dataset, 64 MiB by default. **Chunk**: 1 KiB of a blob, BLAKE3's leaf.
//! - **pin**, **deal**: an owner's paid order that hosts keep copies of shards, and its signed terms.
//! - **host** stores, **worker** computes, **validator** votes, **auditor** checks; a **node** is any of them.
//! - **beacon**: an epoch's public randomness. **Sample**: the chunks that it selects for a host to prove.
//! - **epoch** of the chain: the interval of audits and payments. **Key epoch**: the number of a datanet's key.
//! - **statement**: a signed action in a datanet. **Charter**: its founding terms.

#![forbid(unsafe_code)]

pub mod codec;
pub mod crypto;
pub mod datanet;
pub mod duplicate;
mod error;
pub mod event;
pub mod id;
pub mod licence;
pub mod machine;
pub mod manifest;
pub mod message;
mod preimage;
pub mod proof;
pub mod receipt;
pub mod seal;
pub mod time;
pub mod unit;

pub use error::error_chain;
pub use id::{Account, BlobHash, BlockHash, DatanetId, NodeId, TxHash, ValidatorKey};
pub use preimage::Authored;
pub use time::{Height, Time};
pub use unit::Amount;
