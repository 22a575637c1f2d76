//! The shape of BLAKE3's tree over a shard, and the path from its root to one chunk.

use blake3::hazmat::{ChainingValue, left_subtree_len};

use crate::BlobHash;

/// Bytes of a chunk: BLAKE3's leaf, and the unit of a challenge.
pub const CHUNK: u64 = 1024;
/// Bytes of a group: the leaf of an outboard. 16 chunks, as in iroh-blobs.
pub const GROUP: u64 = 16 * CHUNK;
/// Largest shard that can be proven: 16 TiB. Far above any deal, and small enough that no sum of sizes overflows.
pub const SIZE_MAX: u64 = 1 << 44;

/// The chaining values of a node's two children, as an outboard stores them.
pub type Pair = [ChainingValue; 2];

/// A blob by its hash and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub struct Shard {
    pub root: BlobHash,
    /// Length in bytes. Trusted only after the last chunk has verified.
    pub size: u64,
}

impl Shard {
    /// Returns the hash and length of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            root: BlobHash(*blake3::hash(bytes).as_bytes()),
            size: bytes.len() as u64,
        }
    }

    /// Returns the number of chunks. An empty shard has one empty chunk.
    pub const fn chunks(&self) -> u64 {
        let chunks = self.size.div_ceil(CHUNK);
        if chunks == 0 { 1 } else { chunks }
    }

    /// Returns the index of the last chunk. A proof of it proves the size.
    pub const fn last(&self) -> u64 {
        self.chunks() - 1
    }
}

/// The path from the root of a tree down to one chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkPath {
    /// Bit `i` is set if step `i` goes left.
    left: u64,
    pub(super) depth: u32,
    /// Offset of the chunk.
    pub(super) start: u64,
    /// Length of the chunk: 1024 for all but the last.
    pub(super) len: u64,
}

impl ChunkPath {
    /// Returns the path to `chunk` in a tree over `size` bytes, or `None` if there is no such chunk.
    pub(super) fn to(size: u64, chunk: u64) -> Option<Self> {
        let target = chunk.checked_mul(CHUNK)?;
        if size > SIZE_MAX || (target >= size && (size, chunk) != (0, 0)) {
            return None;
        }
        let mut path = Self {
            left: 0,
            depth: 0,
            start: 0,
            len: size,
        };
        while path.len > CHUNK {
            path.step(target);
        }
        Some(path)
    }

    /// Takes one step towards byte `target`; returns true if it went left.
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

    pub(super) const fn goes_left(&self, depth: u32) -> bool {
        self.left >> depth & 1 == 1
    }
}

/// Returns the chaining value of the subtree over `bytes`, which starts at `start` and is not the whole tree.
pub(super) fn chaining_value(bytes: &[u8], start: u64) -> ChainingValue {
    use blake3::hazmat::HasherExt;

    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    hasher.update(bytes);
    hasher.finalize_non_root()
}
