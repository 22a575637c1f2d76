//! The simulated world: a whole network in one thread, from one seed.
//!
//! The hosts run the machine of `consensus`, the executor of `evm` and the log and journal of `storage`, exactly as a
//! daemon does; only network, clock and disk are simulated. Every event comes from one queue in
//! an order that the seed decides, so a run that fails is replayed by its seed: `cargo xtask sim --from SEED --seeds 1`.
//!
//! [`check`] has the invariants that are checked at every step, [`plan`] the faults, [`byzantine`] the attacks.

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
