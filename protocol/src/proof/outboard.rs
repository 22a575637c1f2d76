//! What a prover has to read, and the outboard of bytes that are at hand.
//!
//! An outboard holds, for every node of the tree above the 16 KiB groups, the chaining values of its two children, 64
//! bytes, in pre-order: a node, all of its left subtree, all of its right one. That is the layout of the `.obao4` files of a
//! verified blob store, so pair `i` is its bytes `64 i .. 64 i + 64`.

use std::ops::Range;

use blake3::hazmat::left_subtree_len;

use super::{
    GROUP, Pair, Shard,
    tree::{Descent, SIZE_MAX, chaining_value},
};

/// What is read to prove one chunk: one group of the shard and a handful of pairs, whatever the shard's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The bytes of the group that holds the chunk.
    pub group: Range<u64>,
    /// Positions in the outboard, from the root down. Empty for a shard of one group, which has no outboard.
    pub pairs: Vec<u64>,
}

impl Needs {
    /// What a proof of `chunk` needs, if `shard` has that chunk.
    pub fn of(shard: &Shard, chunk: u64) -> Option<Self> {
        let target = Descent::to(shard.size, chunk)?.start;
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

    /// Where pair `position` lies in the bytes of an outboard.
    pub const fn bytes_of(position: u64) -> Range<u64> {
        position * 64..position * 64 + 64
    }
}

/// The outboard of `bytes`.
///
/// # Panics
/// If they are longer than any shard that is proven.
pub fn outboard(bytes: &[u8]) -> Vec<Pair> {
    assert!(bytes.len() as u64 <= SIZE_MAX, "longer than any shard");
    let mut pairs = Vec::new();
    if bytes.len() as u64 > GROUP {
        fill(bytes, 0, &mut pairs);
    }
    pairs
}

/// Appends the pairs of the subtree over `bytes` in pre-order; gives its children's chaining values.
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
