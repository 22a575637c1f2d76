//! The proofs that answer one draw, and the 32 bytes that stand for them on the chain.

use bincode::{Decode, Encode};

use super::{Flaw, PROOF_MAX, Proof, Sample, Shard};
use crate::{codec, crypto::digest};

/// Most chunks that one challenge asks for.
pub const PROOFS_MAX: u16 = 256;
/// Longest encoding of a bundle.
pub const BUNDLE_MAX: usize = 8 + PROOFS_MAX as usize * PROOF_MAX;

/// One proof for each drawn chunk, in the order of the draw.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Bundle {
    /// The proofs.
    pub proofs: Vec<Proof>,
}

/// Why a bundle does not answer its challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flawed {
    /// Not one proof for each drawn chunk.
    #[error("{found} proofs where {wanted} chunks were drawn")]
    Count {
        /// What came.
        found: usize,
        /// What was drawn.
        wanted: usize,
    },
    /// One of them is false.
    #[error("proof {position} is false")]
    Proof {
        /// Which, from 0.
        position: usize,
        /// Why.
        #[source]
        flaw: Flaw,
    },
}

impl Bundle {
    /// Its name: what a host signs and the chain keeps.
    pub fn hash(&self) -> [u8; 32] {
        digest("openledger/bundle/1", &[&codec::encode(self)])
    }

    /// Whether every chunk of the draw is proven.
    pub fn verify(&self, sample: &Sample<'_>) -> Result<(), Flawed> {
        self.verify_drawn(sample.shards, &sample.draw())
    }

    /// Whether every chunk of a list is proven, each a position in `shards` and a chunk of that shard.
    pub fn verify_drawn(&self, shards: &[Shard], drawn: &[(usize, u64)]) -> Result<(), Flawed> {
        if self.proofs.len() != drawn.len() {
            return Err(Flawed::Count {
                found: self.proofs.len(),
                wanted: drawn.len(),
            });
        }
        for (position, ((shard, chunk), proof)) in drawn.iter().zip(&self.proofs).enumerate() {
            proof
                .verify(&shards[*shard], *chunk)
                .map_err(|flaw| Flawed::Proof { position, flaw })?;
        }
        Ok(())
    }
}
