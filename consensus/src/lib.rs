//! Byzantine fault tolerant ordering of blocks: Tendermint through the Malachite core, the mempool, block sync and
//! crash recovery.
//!
//! Everything here is pure. A machine is told the time and one input, and lists effects that its caller performs;
//! there is no clock, disk, socket or thread. The daemon and the simulator in `tests` drive the same code.
//!
//! # Modules
//!
//! - [`node`]: the whole chain side of a daemon as one machine. Start here; [`node::Node::step`] is the way in.
//! - [`bft`]: one validator's vote, the Malachite core with its key, timers and journal records.
//! - [`execution`]: the trait that executes blocks. To this crate a block is bytes with a hash; crate `evm`
//!   implements it.
//! - [`mempool`]: transactions that wait for a block.
//! - [`validator`]: validator sets, proposer selection, and the check of a certificate.
//! - [`journal`]: the records of the consensus write-ahead log.
//! - `context`, `convert`, `signature_cache`: types for the core, conversion to and from them, and verified
//!   signatures.
//!
//! # Glossary
//!
//! - *Tip*: the last final block of this node. The height being decided is the one above it.
//! - *Body*: a block together with the certificate of its parent, as peers send it
//!   ([`protocol::message::chain::Body`]).
//! - *Certificate*: the precommits of more than two thirds of the voting power for one block. It makes the block
//!   final.
//! - *Polka*: prevotes of more than two thirds of the voting power for one block in one round.
//! - *Epoch*: a run of heights with one validator set. Its length is fixed at genesis.
//!
//! # Why not the whole Malachite engine
//!
//! Only `core-consensus`, its types and its signing traits are used. Malachite's `engine`, `app`, `network`, `sync`
//! and `discovery` crates are tokio actors on an older libp2p, a second network stack beside ours, and cannot run
//! in a deterministic simulator. The core is a library without I/O: it takes inputs and yields effects.
//!
//! # Why no BLS aggregation yet
//!
//! A certificate lists one ed25519 signature per validator. For up to about a hundred validators that costs 4.5 ms
//! to verify, against 1.3 ms for an aggregate. BLS threshold certificates would come with another protocol (Simplex
//! as published weighs every validator alike, without stake), so they wait until light clients need proofs of
//! constant size.

#![forbid(unsafe_code)]

pub mod bft;
mod context;
mod convert;
pub mod execution;
pub mod journal;
pub mod mempool;
pub mod node;
mod signature_cache;
pub mod validator;
