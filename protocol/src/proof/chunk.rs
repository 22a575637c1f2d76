//! One chunk and its siblings: built, checked, and nothing else.

use bincode::{Decode, Encode};
use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::{
    GROUP, Needs, Pair, Shard,
    tree::{Descent, chaining_value},
};

/// Longest encoding of a proof: a chunk, two lengths, and one sibling for each level of the largest shard.
pub const PROOF_MAX: usize = 1024 + 16 + 34 * 32;

/// That somebody holds one chunk of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Proof {
    /// The chunk's bytes.
    pub chunk: Vec<u8>,
    /// The chaining values beside its way, from the root down.
    pub siblings: Vec<ChainingValue>,
}

/// What is wrong with a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The shard is shorter, or longer than any that is proven.
    #[error("the shard has no chunk {chunk}")]
    NoSuchChunk {
        /// The one asked for.
        chunk: u64,
    },
    /// The chunk is not as long as the shard's size makes it.
    #[error("the chunk has {found} bytes where the size of the shard makes it {wanted}")]
    ChunkLength {
        /// What came.
        found: usize,
        /// What it has to be.
        wanted: u64,
    },
    /// Another number of siblings than the tree has levels.
    #[error("{found} siblings where the size of the shard makes it {wanted}")]
    Siblings {
        /// What came.
        found: usize,
        /// What it has to be.
        wanted: u32,
    },
    /// The way does not end at the root.
    #[error("the chunk and its siblings hash to another root")]
    Root,
}

/// Why no proof came out of what was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The shard has no such chunk.
    #[error("the shard has no chunk {chunk}")]
    NoSuchChunk {
        /// The one asked for.
        chunk: u64,
    },
    /// The outboard gave more or fewer pairs than were needed.
    #[error("{found} pairs of the outboard where {wanted} are needed")]
    Pairs {
        /// What was given.
        found: usize,
        /// What was asked for.
        wanted: usize,
    },
    /// The group is shorter or longer than it has to be.
    #[error("{found} bytes of a group that has {wanted}")]
    Group {
        /// What was given.
        found: usize,
        /// What was asked for.
        wanted: u64,
    },
    /// What is on disk is no longer the shard: fetch it again. Answering with this proof would be punished as a lie.
    #[error("the bytes or their outboard no longer hash to the shard's name")]
    Damaged,
}

impl Proof {
    /// The proof of `chunk`, from the group that holds it and the pairs that [`Needs`] names, in that order.
    ///
    /// Only a proof that verifies comes out: a false one costs its author the stake, a missing one costs a reward.
    pub fn build(shard: &Shard, chunk: u64, pairs: &[Pair], group: &[u8]) -> Result<Self, BuildError> {
        let absent = BuildError::NoSuchChunk { chunk };
        let needs = Needs::of(shard, chunk).ok_or_else(|| absent.clone())?;
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
        let way = Descent::to(shard.size, chunk).ok_or(absent)?;
        let beside = |depth: usize, pair: &Pair| {
            let depth = u32::try_from(depth).expect("a tree has fewer than 64 levels");
            pair[usize::from(way.goes_left(depth))]
        };
        let mut siblings: Vec<ChainingValue> = pairs
            .iter()
            .enumerate()
            .map(|(depth, pair)| beside(depth, pair))
            .collect();
        let chunk_bytes = descend_group(group, needs.group.start, way.start, &mut siblings);
        let proof = Self {
            chunk: chunk_bytes.to_vec(),
            siblings,
        };
        proof.verify(shard, chunk).map_err(|_| BuildError::Damaged)?;
        Ok(proof)
    }

    /// The proof of `chunk` from the whole shard, for those who hold it in memory.
    pub fn of_bytes(bytes: &[u8], chunk: u64) -> Result<Self, BuildError> {
        let shard = Shard::of(bytes);
        let needs = Needs::of(&shard, chunk).ok_or(BuildError::NoSuchChunk { chunk })?;
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

    /// Whether its author holds `chunk` of `shard`.
    pub fn verify(&self, shard: &Shard, chunk: u64) -> Result<(), Flaw> {
        let way = Descent::to(shard.size, chunk).ok_or(Flaw::NoSuchChunk { chunk })?;
        if self.chunk.len() as u64 != way.len {
            return Err(Flaw::ChunkLength {
                found: self.chunk.len(),
                wanted: way.len,
            });
        }
        if self.siblings.len() as u64 != u64::from(way.depth) {
            return Err(Flaw::Siblings {
                found: self.siblings.len(),
                wanted: way.depth,
            });
        }
        if self.root(&way) == shard.root.0 {
            Ok(())
        } else {
            Err(Flaw::Root)
        }
    }

    fn root(&self, way: &Descent) -> [u8; 32] {
        let Some((top, below)) = self.siblings.split_first() else {
            return *blake3::hash(&self.chunk).as_bytes();
        };
        let mut value = chaining_value(&self.chunk, way.start);
        for (depth, sibling) in (1..way.depth).zip(below).rev() {
            let (left, right) = order(way.goes_left(depth), &value, sibling);
            value = merge_subtrees_non_root(left, right, Mode::Hash);
        }
        let (left, right) = order(way.goes_left(0), &value, top);
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

/// Adds the siblings inside a group that begins at `start`, down to the chunk that begins at `target`.
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
