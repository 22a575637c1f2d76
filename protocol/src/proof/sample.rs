//! The sampling of chunks for a challenge: seeded by a beacon that the host could not predict, and different for each
//! host.

use bincode::{Decode, Encode};

use super::{PROOFS_MAX, Shard};
use crate::{NodeId, crypto::digest};

/// Public randomness of an epoch. Unknown when the deal was made, so a host cannot store just the chunks to be
/// sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Beacon {
    /// The epoch that it starts.
    pub epoch: u64,
    pub value: [u8; 32],
}

/// The parameters of one sample of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    pub beacon: &'a Beacon,
    /// The challenged host. Part of the seed, so that two hosts never need the same proofs.
    pub node: NodeId,
    /// The deal that the shards belong to.
    pub set: &'a [u8; 32],
    /// The shards, in the order of the deal.
    pub shards: &'a [Shard],
    /// Number of chunks to sample; capped at [`PROOFS_MAX`].
    pub count: u16,
}

impl Sample<'_> {
    /// Returns the sampled chunks as (shard index, chunk). A chunk may occur twice.
    ///
    /// `index_j = u128(BLAKE3("openledger/challenge/1", epoch ‖ beacon ‖ node ‖ set ‖ j)) mod chunks`, over the chunks of all
    /// shards in order, so every chunk is equally likely. The bias of the remainder is below 2^-80.
    pub fn draw(&self) -> Vec<(usize, u64)> {
        let total: u128 = self.shards.iter().map(|shard| u128::from(shard.chunks())).sum();
        if total == 0 {
            return Vec::new();
        }
        let count = self.count.min(PROOFS_MAX);
        (0..count).map(|j| self.locate(self.number(j) % total)).collect()
    }

    fn number(&self, j: u16) -> u128 {
        let epoch = self.beacon.epoch.to_be_bytes();
        let parts: [&[u8]; 5] = [&epoch, &self.beacon.value, &self.node.0, self.set, &j.to_be_bytes()];
        let drawn = digest("openledger/challenge/1", &parts);
        u128::from_be_bytes(*drawn.first_chunk().expect("a digest has 32 bytes"))
    }

    fn locate(&self, mut index: u128) -> (usize, u64) {
        for (position, shard) in self.shards.iter().enumerate() {
            let chunks = u128::from(shard.chunks());
            if index < chunks {
                return (position, u64::try_from(index).expect("below a count of chunks"));
            }
            index -= chunks;
        }
        unreachable!("an index below the sum of all chunks lies in one of the shards")
    }
}
