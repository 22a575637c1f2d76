//! A bundle: the proofs for one sample of chunks. The chain and signatures refer to it by its 32-byte hash.

use bincode::{Decode, Encode};

use super::{PROOF_MAX, Proof, ProofError, Sample, Shard};
use crate::{codec, crypto::digest};

/// Most chunks in one challenge.
pub const PROOFS_MAX: u16 = 256;
/// Longest encoding of a bundle, in bytes.
pub const BUNDLE_MAX: usize = 8 + PROOFS_MAX as usize * PROOF_MAX;

/// One proof for each sampled chunk, in the order of the sample.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Bundle {
    pub proofs: Vec<Proof>,
}

/// The reason that a bundle does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("{found} proofs where {wanted} chunks were drawn")]
    Count { found: usize, wanted: usize },
    #[error("proof {position} does not verify")]
    Proof {
        /// Index in the bundle, from 0.
        position: usize,
        #[source]
        flaw: ProofError,
    },
}

impl Bundle {
    /// Returns the hash that a host signs and the chain stores.
    pub fn hash(&self) -> [u8; 32] {
        digest("openledger/bundle/1", &[&codec::encode(self)])
    }

    /// Checks that every chunk of the sample is proven.
    pub fn verify(&self, sample: &Sample<'_>) -> Result<(), BundleError> {
        self.verify_drawn(sample.shards, &sample.draw())
    }

    /// Checks that every listed (shard index, chunk) pair is proven, in order.
    pub fn verify_drawn(&self, shards: &[Shard], drawn: &[(usize, u64)]) -> Result<(), BundleError> {
        if self.proofs.len() != drawn.len() {
            return Err(BundleError::Count {
                found: self.proofs.len(),
                wanted: drawn.len(),
            });
        }
        for (position, ((shard, chunk), proof)) in drawn.iter().zip(&self.proofs).enumerate() {
            proof
                .verify(&shards[*shard], *chunk)
                .map_err(|flaw| BundleError::Proof { position, flaw })?;
        }
        Ok(())
    }
}
