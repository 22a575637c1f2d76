//! Proofs of possession: one 1 KiB chunk of a shard, and the BLAKE3 chaining values on its path to the root.
//!
//! The hash of a shard commits to every byte of it, so nothing is computed or stored in advance of a challenge. The length
//! alone gives the shape of BLAKE3's tree, and a length is trusted only after the *last* chunk of that shape has verified:
//! hosts register with it ([`Shard::last`]).
//!
//! A prover hashes one 16 KiB group and reads the other values from an outboard, the file of chaining values that the blob
//! store keeps anyway. [`ProofInputs`] lists the bytes and pairs to read; reading them is the caller's part. A proof does
//! *not* show the number of copies: a host may fetch on demand, and several hosts may share a disk.
//!
//! # Why not a Merkle tree of our own, or SHA-256
//!
//! BLAKE3 already is a Merkle tree over 1 KiB chunks. The hash that names a blob for transfer therefore proves possession
//! too, without a second commitment that could disagree with it. A proof for a 256 MiB shard is about 1,600 bytes and takes
//! microseconds to verify.

mod bundle;
mod chunk;
mod outboard;
mod sample;
#[cfg(test)]
mod tests;
mod tree;

pub use bundle::{BUNDLE_MAX, Bundle, BundleError, PROOFS_MAX};
pub use chunk::{BuildError, PROOF_MAX, Proof, ProofError};
pub use outboard::{ProofInputs, outboard};
pub use sample::{Beacon, Sample};
pub use tree::{CHUNK, GROUP, Pair, SIZE_MAX, Shard};
