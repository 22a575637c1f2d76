//! The proof of one chunk: building it and verifying it.

use bincode::{Decode, Encode};
use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::{
    GROUP, Pair, ProofInputs, Shard,
    tree::{ChunkPath, chaining_value},
};

/// Longest encoding of a proof: a chunk, two lengths, and one sibling for each level of the largest shard.
pub const PROOF_MAX: usize = 1024 + 16 + 34 * 32;

/// A proof of possession of one chunk of a shard.
///
/// ```
/// use protocol::proof::{Proof, Shard};
///
/// let bytes = vec![7; 5_000];
/// let shard = Shard::of(&bytes);
/// let proof = Proof::of_bytes(&bytes, 4).unwrap();
/// assert_eq!(proof.verify(&shard, 4), Ok(()));
/// assert!(proof.verify(&shard, 3).is_err(), "proves another chunk");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Proof {
    pub chunk: Vec<u8>,
    /// The sibling chaining values on the chunk's path, from the root down.
    pub siblings: Vec<ChainingValue>,
}

/// The reason that a proof does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the shard has no chunk {chunk}")]
    NoSuchChunk { chunk: u64 },
    /// The chunk's length does not match the shard's size.
    #[error("the chunk has {found} bytes where the size of the shard makes it {wanted}")]
    ChunkLength { found: usize, wanted: u64 },
    /// The number of siblings does not match the depth of the tree.
    #[error("{found} siblings where the size of the shard makes it {wanted}")]
    Siblings { found: usize, wanted: u32 },
    /// The path leads to another root.
    #[error("the chunk and its siblings hash to another root")]
    Root,
}

/// The reason that no proof could be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("the shard has no chunk {chunk}")]
    NoSuchChunk { chunk: u64 },
    #[error("{found} pairs of the outboard where {wanted} are needed")]
    Pairs { found: usize, wanted: usize },
    #[error("{found} bytes of a group that has {wanted}")]
    Group { found: usize, wanted: u64 },
    /// The stored bytes no longer match the shard's hash: fetch it again. Signing such a proof would cost the bond.
    #[error("the bytes or their outboard no longer hash to the shard's name")]
    Damaged,
}

impl Proof {
    /// Builds the proof of `chunk` from its group and the pairs that [`ProofInputs`] lists, in that order.
    ///
    /// Returns only a proof that verifies: a false one costs its author the bond, a missing one a single reward.
    pub fn build(shard: &Shard, chunk: u64, pairs: &[Pair], group: &[u8]) -> Result<Self, BuildError> {
        let absent = BuildError::NoSuchChunk { chunk };
        let needs = ProofInputs::of(shard, chunk).ok_or_else(|| absent.clone())?;
        if pairs.len() != needs.pairs.len() {
            return Err(BuildError::Pairs {
                found: pairs.len(),
                wanted: needs.pairs.len(),
            });
        }
        if group.len() as u64 != needs.group.end - needs.group.start {
            return Err(BuildError::Group {
                found: group.len(),
                wanted: needs.group.end - needs.group.start,
            });
        }
        let path = ChunkPath::to(shard.size, chunk).ok_or(absent)?;
        let beside = |depth: usize, pair: &Pair| {
            let depth = u32::try_from(depth).expect("a tree has fewer than 64 levels");
            pair[usize::from(path.goes_left(depth))]
        };
        let mut siblings: Vec<ChainingValue> = pairs
            .iter()
            .enumerate()
            .map(|(depth, pair)| beside(depth, pair))
            .collect();
        let chunk_bytes = descend_group(group, needs.group.start, path.start, &mut siblings);
        let proof = Self {
            chunk: chunk_bytes.to_vec(),
            siblings,
        };
        proof.verify(shard, chunk).map_err(|_| BuildError::Damaged)?;
        Ok(proof)
    }

    /// Builds the proof of `chunk` from a whole shard in memory.
    pub fn of_bytes(bytes: &[u8], chunk: u64) -> Result<Self, BuildError> {
        let shard = Shard::of(bytes);
        let needs = ProofInputs::of(&shard, chunk).ok_or(BuildError::NoSuchChunk { chunk })?;
        let tree = super::outboard(bytes);
        let at = |index: u64| usize::try_from(index).expect("an index into a vector that exists");
        let pairs: Vec<Pair> = needs.pairs.iter().map(|index| tree[at(*index)]).collect();
        Self::build(
            &shard,
            chunk,
            &pairs,
            &bytes[at(needs.group.start)..at(needs.group.end)],
        )
    }

    /// Checks that this proves possession of `chunk` of `shard`.
    pub fn verify(&self, shard: &Shard, chunk: u64) -> Result<(), ProofError> {
        let path = ChunkPath::to(shard.size, chunk).ok_or(ProofError::NoSuchChunk { chunk })?;
        if self.chunk.len() as u64 != path.len {
            return Err(ProofError::ChunkLength {
                found: self.chunk.len(),
                wanted: path.len,
            });
        }
        if self.siblings.len() as u64 != u64::from(path.depth) {
            return Err(ProofError::Siblings {
                found: self.siblings.len(),
                wanted: path.depth,
            });
        }
        if self.root(&path) == shard.root.0 {
            Ok(())
        } else {
            Err(ProofError::Root)
        }
    }

    fn root(&self, path: &ChunkPath) -> [u8; 32] {
        let Some((top, below)) = self.siblings.split_first() else {
            return *blake3::hash(&self.chunk).as_bytes();
        };
        let mut value = chaining_value(&self.chunk, path.start);
        for (depth, sibling) in (1..path.depth).zip(below).rev() {
            let (left, right) = order(path.goes_left(depth), &value, sibling);
            value = merge_subtrees_non_root(left, right, Mode::Hash);
        }
        let (left, right) = order(path.goes_left(0), &value, top);
        *merge_subtrees_root(left, right, Mode::Hash).as_bytes()
    }
}

fn order<'a>(
    left: bool,
    value: &'a ChainingValue,
    sibling: &'a ChainingValue,
) -> (&'a ChainingValue, &'a ChainingValue) {
    if left { (value, sibling) } else { (sibling, value) }
}

/// Appends the siblings inside a group that starts at `start`; returns the chunk that starts at `target`.
fn descend_group<'a>(group: &'a [u8], start: u64, target: u64, siblings: &mut Vec<ChainingValue>) -> &'a [u8] {
    assert!(group.len() as u64 <= GROUP, "a group was asked for");
    let (mut rest, mut start) = (group, start);
    while rest.len() as u64 > super::CHUNK {
        let half = blake3::hazmat::left_subtree_len(rest.len() as u64);
        let (left, right) = rest.split_at(usize::try_from(half).expect("shorter than a group"));
        if target < start + half {
            siblings.push(chaining_value(right, start + half));
            rest = left;
        } else {
            siblings.push(chaining_value(left, start));
            (rest, start) = (right, start + half);
        }
    }
    rest
}
