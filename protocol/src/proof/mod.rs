//! Proofs that somebody holds a shard: one 1 KiB chunk and the BLAKE3 chaining values beside its way to the root.
//!
//! The name of a shard already commits to every byte of it, so nothing is computed or stored ahead of a challenge. BLAKE3's
//! tree has its shape from the length alone, and a length is only trusted once the *last* chunk of that shape verifies:
//! that is what a host registers with ([`Shard::last`]).
//!
//! A prover rehashes one 16 KiB group and looks the rest up in an outboard, the file of chaining values that a verified
//! store keeps anyway. [`Needs`] says which bytes and which pairs; how they are read is the caller's. What a proof does
//! *not* show is how many copies exist: a host may fetch on demand, and several may share a disk.

mod bundle;
mod chunk;
mod outboard;
mod sample;
#[cfg(test)]
mod tests;
mod tree;

pub use bundle::{BUNDLE_MAX, Bundle, Flawed, PROOFS_MAX};
pub use chunk::{BuildError, Flaw, PROOF_MAX, Proof};
pub use outboard::{Needs, outboard};
pub use sample::{Beacon, Sample};
pub use tree::{CHUNK, GROUP, Pair, SIZE_MAX, Shard};
