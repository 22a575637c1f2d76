//! Proofs of possession from stored blobs: one group of bytes, and the hash pairs above it.

use std::ops::Range;

use bytes::Bytes;
use futures::StreamExt as _;
use iroh_blobs::{
    api::blobs::EncodedItem,
    protocol::{ChunkRanges, ChunkRangesExt as _},
};
use protocol::{
    BlobHash,
    proof::{BuildError, Pair, Proof, ProofInputs, Shard},
};

use super::{ReadError, reason::to_iroh, store::BlobStore};

/// Error of proving a chunk.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("chunk {chunk} of {hash:#} cannot be proven")]
    Build {
        hash: BlobHash,
        chunk: u64,
        #[source]
        source: BuildError,
    },
}

impl BlobStore {
    /// Builds the proof of `chunk` of `shard`. Reads one group of bytes and a few hashes.
    pub async fn prove(&self, shard: &Shard, chunk: u64) -> Result<Proof, ProveError> {
        let hash = shard.root;
        let build = |source| ProveError::Build { hash, chunk, source };
        let needs = ProofInputs::of(shard, chunk).ok_or_else(|| build(BuildError::NoSuchChunk { chunk }))?;
        let (pairs, group) = self.group(hash, needs.group).await?;
        Proof::build(shard, chunk, &pairs, &group).map_err(build)
    }

    /// Returns the bytes of one group, and the hash pairs on its path, from the root down.
    async fn group(&self, hash: BlobHash, group: Range<u64>) -> Result<(Vec<Pair>, Bytes), ReadError> {
        self.unchanged(hash).await?;
        let (mut pairs, mut bytes) = (Vec::new(), Vec::new());
        if group.is_empty() {
            return Ok((pairs, bytes.into()));
        }
        // For a whole group, the encoding has no pairs below it; neither has an outboard.
        let ranges = ChunkRanges::bytes(group.clone());
        let mut items = Box::pin(self.shared.api.export_bao(to_iroh(hash), ranges).stream());
        while let Some(item) = items.next().await {
            match item {
                EncodedItem::Parent(parent) => pairs.push([*parent.pair.0.as_bytes(), *parent.pair.1.as_bytes()]),
                EncodedItem::Leaf(leaf) => bytes.extend_from_slice(&leaf.data),
                EncodedItem::Error(error) => return Err(self.diagnose(hash, error.to_string()).await),
                EncodedItem::Size(_) | EncodedItem::Done => (),
            }
        }
        if bytes.len() as u64 != group.end - group.start {
            return Err(self.diagnose(hash, "the store stopped reading".to_owned()).await);
        }
        Ok((pairs, bytes.into()))
    }
}
