//! What a proof of possession is made of: one group of a blob, and the pairs of hashes above it.

use std::ops::Range;

use bytes::Bytes;
use futures::StreamExt as _;
use iroh_blobs::{
    api::blobs::EncodedItem,
    protocol::{ChunkRanges, ChunkRangesExt as _},
};
use protocol::{
    BlobHash,
    proof::{BuildError, Needs, Pair, Proof, Shard},
};

use super::{ReadError, reason::theirs, store::BlobStore};

/// Why a chunk is not proven.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The bytes cannot be read, or are not what they were.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No proof comes out of what was read.
    #[error("chunk {chunk} of {hash:#} cannot be proven")]
    Build {
        /// The blob.
        hash: BlobHash,
        /// Which chunk.
        chunk: u64,
        /// Why.
        #[source]
        source: BuildError,
    },
}

impl BlobStore {
    /// The proof that `chunk` of `shard` is here. Reads one group of bytes and a handful of hashes, wherever its tree lies.
    pub async fn prove(&self, shard: &Shard, chunk: u64) -> Result<Proof, ProveError> {
        let hash = shard.root;
        let build = |source| ProveError::Build { hash, chunk, source };
        let needs = Needs::of(shard, chunk).ok_or_else(|| build(BuildError::NoSuchChunk { chunk }))?;
        let (pairs, group) = self.group(hash, needs.group).await?;
        Proof::build(shard, chunk, &pairs, &group).map_err(build)
    }

    /// The bytes of one group, and the pairs of hashes on the way to it, from the root down.
    async fn group(&self, hash: BlobHash, group: Range<u64>) -> Result<(Vec<Pair>, Bytes), ReadError> {
        self.unchanged(hash).await?;
        let (mut pairs, mut bytes) = (Vec::new(), Vec::new());
        if group.is_empty() {
            return Ok((pairs, bytes.into()));
        }
        // Whole groups, so the encoding has no pairs below them, which an outboard does not have either.
        let ranges = ChunkRanges::bytes(group.clone());
        let mut items = Box::pin(self.shared.api.export_bao(theirs(hash), ranges).stream());
        while let Some(item) = items.next().await {
            match item {
                EncodedItem::Parent(parent) => pairs.push([*parent.pair.0.as_bytes(), *parent.pair.1.as_bytes()]),
                EncodedItem::Leaf(leaf) => bytes.extend_from_slice(&leaf.data),
                EncodedItem::Error(error) => return Err(self.blame(hash, error.to_string()).await),
                EncodedItem::Size(_) | EncodedItem::Done => (),
            }
        }
        if bytes.len() as u64 != group.end - group.start {
            return Err(self.blame(hash, "the store stopped reading".to_owned()).await);
        }
        Ok((pairs, bytes.into()))
    }
}
