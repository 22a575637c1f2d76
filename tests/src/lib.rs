//! The simulated world: a whole network in one thread, from one seed.
//!
//! The hosts run the machine of `consensus`, the executor of `evm` and the log and journal of `storage`, exactly as a
//! daemon does; only the network, the clock and the disk's platter are played here. Every event comes from one queue in
//! an order that the seed decides, so a run that fails is replayed by its seed: `cargo xtask sim --from SEED --seeds 1`.
//!
//! What is checked at every step is in [`check`]; what can go wrong is in [`plan`]; who lies, and how, in [`byzantine`].

#![forbid(unsafe_code)]

pub mod byzantine;
pub mod campaign;
pub mod check;
pub mod cluster;
pub mod commands;
pub mod dice;
pub mod figures;
pub mod forge;
pub mod fuzz;
pub mod host;
pub mod liar;
pub mod load;
pub mod plan;
pub mod progress;
pub mod wallet;
pub mod world;
