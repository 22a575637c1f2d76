//! Which chunks are asked for: drawn by a beacon that the host could not foresee, for this host alone.

use bincode::{Decode, Encode};

use super::{PROOFS_MAX, Shard};
use crate::{NodeId, crypto::digest};

/// Randomness that nobody knew when the deal was made, and everybody knows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Beacon {
    /// The epoch it opens.
    pub epoch: u64,
    /// The chain's randomness.
    pub value: [u8; 32],
}

/// One draw of chunks: from which set, for whom, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// The randomness.
    pub beacon: &'a Beacon,
    /// Who has to answer. In the seed, so that two hosts cannot share one answer.
    pub node: NodeId,
    /// What the shards belong to: a deal.
    pub set: &'a [u8; 32],
    /// The shards, in the deal's order.
    pub shards: &'a [Shard],
    /// How many chunks are drawn.
    pub count: u16,
}

impl Sample<'_> {
    /// The drawn chunks: each a position in `shards` and a chunk of that shard. Draws may repeat.
    ///
    /// `index_j = u128(BLAKE3("openledger/challenge/1", epoch ‖ beacon ‖ node ‖ set ‖ j)) mod chunks`, over the chunks of all
    /// shards one after another, so each chunk is as likely as any other. The bias of the remainder is below 2^-80.
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
