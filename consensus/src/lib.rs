//! Order: which block is next, decided by a quorum of stake and by nobody less.
//!
//! The Malachite core decides rounds, [`engine`] gives it our keys, timers and journal, and [`node`] is the whole chain
//! side of a daemon as one pure machine: consensus, mempool, catching up. Blocks are bytes here; what they mean is asked
//! through [`execution`]. No clock, disk or socket: the daemon and the simulator drive the same code.

#![forbid(unsafe_code)]

mod context;
pub mod engine;
pub mod execution;
pub mod journal;
pub mod mempool;
pub mod node;
pub mod validator;
mod verdicts;
mod wire;
