//! Reading blobs. Every byte is verified against the blob's hash on the way out.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use iroh_blobs::{
    api::blobs::{BlobStatus, EncodedItem},
    protocol::{ChunkRanges, ChunkRangesExt as _},
};
use protocol::BlobHash;
use tokio::io::AsyncWriteExt as _;

use super::{index::Entry, log::sync_dir, reason::to_iroh, reference::ReferenceError, store::BlobStore};

/// Longest sequence that is read, in bytes: 2 million children.
const SEQUENCE_MAX: u64 = 64 << 20;

/// The completeness of a blob in this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Absent,
    Partial {
        /// Verified bytes.
        bytes: u64,
    },
    Complete {
        /// Size of the blob.
        bytes: u64,
    },
}

/// Error of reading a blob.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{hash:#} is not in this store; fetch or add it first")]
    Absent { hash: BlobHash },
    /// The requested range is not complete.
    #[error("{hash:#} is here only in part; fetch the rest of it")]
    Incomplete { hash: BlobHash },
    /// The stored bytes do not match the hash.
    #[error("{hash:#} is damaged on disk ({why}); run a check that drops damaged blobs, then fetch or add it again")]
    Damaged {
        hash: BlobHash,
        /// The failed check.
        why: String,
    },
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The requested range exceeds the blob.
    #[error("{hash:#} has {len} bytes, and bytes {} to {} were asked for", asked.start, asked.end)]
    Beyond {
        hash: BlobHash,
        /// Size of the blob.
        len: u64,
        /// The requested range.
        asked: Range<u64>,
    },
    #[error("{hash:#} has {len} bytes and is no sequence: those have 32 bytes for each child, at most {SEQUENCE_MAX}")]
    NotASequence {
        hash: BlobHash,
        /// Size of the blob.
        len: u64,
    },
}

/// Error of exporting a blob. The target file does not exist in that case.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{} exists; move it away or choose another name", path.display())]
    Exists { path: PathBuf },
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl BlobStore {
    /// Returns how much of a blob is stored.
    pub async fn status(&self, hash: BlobHash) -> Status {
        match self.shared.api.status(to_iroh(hash)).await {
            Ok(BlobStatus::Complete { size }) => Status::Complete { bytes: size },
            Ok(BlobStatus::Partial { .. }) => Status::Partial {
                bytes: self
                    .shared
                    .api
                    .observe(to_iroh(hash))
                    .await
                    .map_or(0, |field| field.total_bytes()),
            },
            Ok(BlobStatus::NotFound) | Err(_) => Status::Absent,
        }
    }

    /// Returns a range of a blob, verified. The rest of the blob may be missing.
    pub async fn read(&self, hash: BlobHash, asked: Range<u64>) -> Result<Bytes, ReadError> {
        self.unchanged(hash).await?;
        let pieces = self.pieces(hash, asked.clone());
        let mut pieces = std::pin::pin!(pieces);
        let mut read = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece? {
                Piece::Len(len) if asked.end > len || asked.start > asked.end => {
                    return Err(ReadError::Beyond { hash, len, asked });
                }
                Piece::Len(_) => read.reserve(usize::try_from(asked.end - asked.start).unwrap_or(0)),
                Piece::Bytes { at, bytes } => {
                    let cut = |to: u64| {
                        usize::try_from(to.saturating_sub(at))
                            .unwrap_or(usize::MAX)
                            .min(bytes.len())
                    };
                    read.extend_from_slice(&bytes[cut(asked.start)..cut(asked.end)]);
                }
            }
        }
        assert_eq!(read.len() as u64, asked.end - asked.start, "verified bytes came short");
        Ok(read.into())
    }

    /// Returns all bytes of a blob in order, verified. The stream ends after an error.
    pub async fn stream(
        &self,
        hash: BlobHash,
    ) -> Result<impl Stream<Item = Result<Bytes, ReadError>> + Send + use<>, ReadError> {
        self.unchanged(hash).await?;
        let pieces = self.pieces(hash, 0..u64::MAX);
        Ok(pieces.filter_map(async |piece| match piece {
            Ok(Piece::Len(_)) => None,
            Ok(Piece::Bytes { bytes, .. }) => Some(Ok(bytes)),
            Err(error) => Some(Err(error)),
        }))
    }

    /// Writes a blob to a new file at `target`, verified and synced, or not at all. `progress` is called with the
    /// bytes written. Returns the size.
    pub async fn export(
        &self,
        hash: BlobHash,
        target: &Path,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<u64, ExportError> {
        let write = |source| ExportError::Write {
            path: target.to_owned(),
            source,
        };
        if tokio::fs::symlink_metadata(target).await.is_ok() {
            return Err(ExportError::Exists {
                path: target.to_owned(),
            });
        }
        let stream = self.stream(hash).await?;
        let part = Part(part_of(target, hash));
        let mut file = tokio::fs::File::create(&part.0).await.map_err(write)?;
        let mut stream = std::pin::pin!(stream);
        let mut len = 0;
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            file.write_all(&bytes).await.map_err(write)?;
            len += bytes.len() as u64;
            progress(len);
        }
        file.sync_all().await.map_err(write)?;
        tokio::fs::rename(&part.0, target).await.map_err(write)?;
        let parent = std::path::absolute(target)
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned));
        if let Some(parent) = parent {
            tokio::task::spawn_blocking(move || sync_dir(&parent))
                .await
                .expect("syncing does not panic")
                .map_err(write)?;
        }
        Ok(len)
    }

    /// Checks that the file of a referenced blob has not changed. Call it before serving. Costs one `stat`, or a hash
    /// of the file if its size or time differ.
    pub async fn unchanged(&self, hash: BlobHash) -> Result<(), ReferenceError> {
        let Some(reference) = self.shared.log().index.references.get(&hash).cloned() else {
            return Ok(());
        };
        if reference.has_same_stamp(hash)? {
            return Ok(());
        }
        let now = tokio::task::spawn_blocking(move || reference.verify(hash))
            .await
            .expect("hashing does not panic")?;
        // Recorded, so that the next reader need not hash the file again.
        if let Err(error) = self.record(vec![Entry::Refer(hash, now)]).await {
            tracing::warn!(%error, blob = %format_args!("{hash:#}"), "could not note that a touched file is unchanged");
        }
        Ok(())
    }

    /// Returns the hashes that a sequence consists of.
    pub async fn children(&self, root: BlobHash) -> Result<Vec<BlobHash>, ReadError> {
        self.unchanged(root).await?;
        let pieces = self.pieces(root, 0..u64::MAX);
        let mut pieces = std::pin::pin!(pieces);
        let mut read: Vec<u8> = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece? {
                Piece::Len(len) if len % 32 != 0 || len > SEQUENCE_MAX => {
                    return Err(ReadError::NotASequence { hash: root, len });
                }
                Piece::Len(_) => (),
                Piece::Bytes { bytes, .. } => read.extend_from_slice(&bytes),
            }
        }
        let hashes = read.as_chunks::<32>().0;
        Ok(hashes.iter().map(|&hash| BlobHash(hash)).collect())
    }

    /// Returns verified pieces of the `wanted` range, with the blob's size first. A short range is an error.
    pub(super) fn pieces(
        &self,
        hash: BlobHash,
        wanted: Range<u64>,
    ) -> impl Stream<Item = Result<Piece, ReadError>> + Send + use<> {
        let ranges = match wanted.end {
            u64::MAX => ChunkRanges::all(),
            _ => ChunkRanges::bytes(wanted.clone()),
        };
        let reading = Reading {
            store: self.clone(),
            hash,
            items: Box::pin(self.shared.api.export_bao(to_iroh(hash), ranges).stream()),
            left: None,
            wanted,
        };
        futures::stream::unfold(Some(reading), async |reading| {
            let mut reading = reading?;
            match reading.next().await? {
                Ok(piece) => Some((Ok(piece), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Returns the cause of a failed read.
    pub(super) async fn diagnose(&self, hash: BlobHash, why: String) -> ReadError {
        if let Err(error) = self.unchanged(hash).await {
            return error.into();
        }
        match self.status(hash).await {
            Status::Absent => ReadError::Absent { hash },
            Status::Partial { .. } => ReadError::Incomplete { hash },
            Status::Complete { .. } => ReadError::Damaged { hash, why },
        }
    }
}

/// A read in progress.
struct Reading<S> {
    store: BlobStore,
    hash: BlobHash,
    items: std::pin::Pin<Box<S>>,
    wanted: Range<u64>,
    /// Bytes of the range still to come; `None` before the size is known.
    left: Option<u64>,
}

impl<S: Stream<Item = EncodedItem>> Reading<S> {
    async fn next(&mut self) -> Option<Result<Piece, ReadError>> {
        loop {
            let why = match self.items.next().await {
                Some(EncodedItem::Parent(_)) => continue,
                Some(EncodedItem::Size(len)) => {
                    self.left = Some(self.wanted.end.min(len).saturating_sub(self.wanted.start));
                    return Some(Ok(Piece::Len(len)));
                }
                Some(EncodedItem::Leaf(leaf)) => {
                    let (at, bytes) = (leaf.offset, leaf.data);
                    let (start, end) = (
                        at.max(self.wanted.start),
                        (at + bytes.len() as u64).min(self.wanted.end),
                    );
                    self.left = self.left.map(|left| left.saturating_sub(end.saturating_sub(start)));
                    return Some(Ok(Piece::Bytes { at, bytes }));
                }
                Some(EncodedItem::Error(error)) => error.to_string(),
                // The stream ends the same way after a complete read and after a failure of the store.
                Some(EncodedItem::Done) | None if self.left == Some(0) => return None,
                Some(EncodedItem::Done) | None => "the store stopped reading".to_owned(),
            };
            return Some(Err(self.store.diagnose(self.hash, why).await));
        }
    }
}

/// One step of a verified read.
pub(super) enum Piece {
    Len(u64),
    Bytes { at: u64, bytes: Bytes },
}

/// A partial file, removed on drop.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn part_of(target: &Path, hash: BlobHash) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{hash:#}.part"));
    target.with_file_name(name)
}
