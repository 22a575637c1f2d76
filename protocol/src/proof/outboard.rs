//! The data that a prover reads, and the outboard of bytes in memory.
//!
//! An outboard holds, for each tree node above the 16 KiB groups, the chaining values of its two children, 64 bytes, in
//! pre-order: a node, its left subtree, its right subtree. This is the layout of iroh-blobs' `.obao4` files, so pair `i` is
//! at bytes `64 i .. 64 i + 64`.

use std::ops::Range;

use blake3::hazmat::left_subtree_len;

use super::{
    GROUP, Pair, Shard,
    tree::{ChunkPath, SIZE_MAX, chaining_value},
};

/// The data to read for the proof of one chunk: one group of the shard and a few pairs, for any size of shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofInputs {
    /// The byte range of the group that holds the chunk.
    pub group: Range<u64>,
    /// Positions of pairs in the outboard, from the root down. Empty for a shard of one group, which has no outboard.
    pub pairs: Vec<u64>,
}

impl ProofInputs {
    /// Returns the inputs for `chunk`, or `None` if `shard` has no such chunk.
    pub fn of(shard: &Shard, chunk: u64) -> Option<Self> {
        let target = ChunkPath::to(shard.size, chunk)?.start;
        let (mut start, mut len, mut position) = (0, shard.size, 0);
        let mut pairs = Vec::new();
        while len > GROUP {
            pairs.push(position);
            let half = left_subtree_len(len);
            if target < start + half {
                (len, position) = (half, position + 1);
            } else {
                // A subtree over n groups has n − 1 pairs, and its parent comes before it.
                position += half.div_ceil(GROUP);
                (start, len) = (start + half, len - half);
            }
        }
        Some(Self {
            group: start..start + len,
            pairs,
        })
    }

    /// Returns the byte range of pair `position` in an outboard.
    pub const fn bytes_of(position: u64) -> Range<u64> {
        position * 64..position * 64 + 64
    }
}

/// Computes the outboard of `bytes`.
///
/// # Panics
/// Panics if `bytes` is longer than [`SIZE_MAX`].
pub fn outboard(bytes: &[u8]) -> Vec<Pair> {
    assert!(bytes.len() as u64 <= SIZE_MAX, "longer than any shard");
    let mut pairs = Vec::new();
    if bytes.len() as u64 > GROUP {
        fill(bytes, 0, &mut pairs);
    }
    pairs
}

/// Appends the pairs of the subtree over `bytes` in pre-order.
fn fill(bytes: &[u8], start: u64, pairs: &mut Vec<Pair>) {
    let half = left_subtree_len(bytes.len() as u64);
    let (left, right) = bytes.split_at(usize::try_from(half).expect("half of bytes in memory"));
    let here = pairs.len();
    pairs.push([[0; 32]; 2]);
    let left = child(left, start, pairs);
    let right = child(right, start + half, pairs);
    pairs[here] = [left, right];
}

fn child(bytes: &[u8], start: u64, pairs: &mut Vec<Pair>) -> [u8; 32] {
    use blake3::hazmat::{Mode, merge_subtrees_non_root};

    if bytes.len() as u64 <= GROUP {
        return chaining_value(bytes, start);
    }
    let here = pairs.len();
    fill(bytes, start, pairs);
    let [left, right] = pairs[here];
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}
