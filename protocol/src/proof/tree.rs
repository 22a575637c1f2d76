//! The shape of BLAKE3's tree over a shard, and the way from its root to one chunk.

use blake3::hazmat::{ChainingValue, left_subtree_len};

use crate::BlobHash;

/// Bytes of a chunk: BLAKE3's leaf, and the unit that is challenged.
pub const CHUNK: u64 = 1024;
/// Bytes of a group: what an outboard has one chaining value for.
pub const GROUP: u64 = 16 * CHUNK;
/// Largest shard that is proven. Far beyond any deal, and small enough that no sum of sizes overflows.
pub const SIZE_MAX: u64 = 1 << 44;

/// The chaining values of a node's two children, as an outboard stores them.
pub type Pair = [ChainingValue; 2];

/// Some bytes by their hash, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub struct Shard {
    /// Their BLAKE3 hash.
    pub root: BlobHash,
    /// How many. Believed only after the last chunk has verified.
    pub size: u64,
}

impl Shard {
    /// The shard that `bytes` are.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            root: BlobHash(*blake3::hash(bytes).as_bytes()),
            size: bytes.len() as u64,
        }
    }

    /// How many chunks it has. The empty shard has one, which is empty.
    pub const fn chunks(&self) -> u64 {
        let chunks = self.size.div_ceil(CHUNK);
        if chunks == 0 { 1 } else { chunks }
    }

    /// Its last chunk: a proof of that one proves the size.
    pub const fn last(&self) -> u64 {
        self.chunks() - 1
    }
}

/// The way from the root of a tree down to one chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descent {
    /// Bit `i` is set where step `i` goes left.
    left: u64,
    /// How many steps.
    pub(super) depth: u32,
    /// Where the chunk begins.
    pub(super) start: u64,
    /// Bytes of it: a whole chunk, but for the last.
    pub(super) len: u64,
}

impl Descent {
    /// The way to `chunk` in a tree over `size` bytes, if it has that chunk.
    pub(super) fn to(size: u64, chunk: u64) -> Option<Self> {
        let target = chunk.checked_mul(CHUNK)?;
        if size > SIZE_MAX || (target >= size && (size, chunk) != (0, 0)) {
            return None;
        }
        let mut way = Self {
            left: 0,
            depth: 0,
            start: 0,
            len: size,
        };
        while way.len > CHUNK {
            way.step(target);
        }
        Some(way)
    }

    /// One step towards the byte `target`; says whether it went left.
    pub(super) fn step(&mut self, target: u64) -> bool {
        let half = left_subtree_len(self.len);
        let left = target < self.start + half;
        if left {
            self.left |= 1 << self.depth;
            self.len = half;
        } else {
            self.start += half;
            self.len -= half;
        }
        self.depth += 1;
        left
    }

    /// Whether step `depth` goes left.
    pub(super) const fn goes_left(&self, depth: u32) -> bool {
        self.left >> depth & 1 == 1
    }
}

/// The chaining value of `bytes`, a subtree that begins at `start` and is not the whole tree.
pub(super) fn chaining_value(bytes: &[u8], start: u64) -> ChainingValue {
    use blake3::hazmat::HasherExt;

    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    hasher.update(bytes);
    hasher.finalize_non_root()
}
