//! Adding blobs: from a file, from memory or from a stream, each with a reason to be kept.
//!
//! An import is safe because of its order: space is reserved; the bytes are written and synced; the database is committed;
//! the reason is recorded; only then does the call return. A crash in between leaves a blob without a reason, which the next
//! collection deletes, or a file without a name, which the next start removes.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _};
use iroh_blobs::{
    HashAndFormat,
    api::{
        TempTag,
        blobs::{AddBytesOptions, AddPathOptions, AddProgress, AddProgressItem, ImportMode},
    },
};
use protocol::BlobHash;
use tokio::io::AsyncWriteExt as _;

use super::{
    index::Entry,
    log::IndexError,
    pin::SettleError,
    reason::{Content, Format, Reason, from_iroh},
    reference::{Reference, Stamp},
    space::Full,
    store::BlobStore,
};

/// Largest blob that is stored in the database, in bytes. A referenced file of that size is copied into it too.
const INLINE_MAX: u64 = 16 << 10;
/// Number of bytes after which free space is checked again: other processes write to the same disk.
const RECHECK_SPACE_BYTES: u64 = 64 << 20;

/// Polling interval during copying and hashing. iroh-blobs reports each group of 16 KiB, and waking up for each report
/// costs about as much as hashing the group.
const POLL_EVERY: Duration = Duration::from_millis(2);
/// Size from which an import is polled; a shorter one is over before a second poll.
const POLL_FROM_BYTES: u64 = 1 << 20;

/// How a file's bytes get into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Copied. The file may change afterwards.
    Copy,
    /// Left in place. The file must not change.
    Reference,
}

/// The parameters of [`BlobStore::add_path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    pub mode: Mode,
    pub format: Format,
    /// The reason to keep the bytes.
    pub reason: Reason,
}

/// An added blob or sequence. It is durable, and its reason is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    pub content: Content,
    pub bytes: u64,
}

/// The progress of an import, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Total size.
    Bytes(u64),
    Copied(u64),
    Hashed(u64),
}

/// Error of adding. Content stored earlier is not affected.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("not enough space for {what}")]
    Full {
        /// A description of the content.
        what: String,
        #[source]
        source: Full,
    },
    /// The file changed during the import.
    #[error("{} was changed while it was added; add it again when nothing writes to it", path.display())]
    Changed { path: PathBuf },
    /// The input stream failed.
    #[error("the stream broke off after {bytes} bytes")]
    Stream {
        /// Bytes received before.
        bytes: u64,
        source: io::Error,
    },
    #[error("could not store {what}: {why}")]
    Store {
        /// A description of the content.
        what: String,
        /// The store's error.
        why: String,
    },
    /// The bytes were stored but could not be synced.
    #[error("{what} was stored but could not be synced")]
    NotDurable {
        /// A description of the content.
        what: String,
        #[source]
        source: SettleError,
    },
    /// The reason was not recorded, so the next collection deletes the bytes.
    #[error("{what} was stored but could not be pinned")]
    Pin {
        /// A description of the content.
        what: String,
        #[source]
        source: IndexError,
    },
}

impl BlobStore {
    /// Adds a file, by copy or by reference. `progress` is called as the import advances.
    pub async fn add_path(
        &self,
        path: &Path,
        add: Add,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Added, AddError> {
        let read = |source| AddError::Read {
            path: path.to_owned(),
            source,
        };
        // Resolve links now: a reference is to the file, not to the link.
        let path = &tokio::fs::canonicalize(path).await.map_err(read)?;
        let before = Stamp::of(path).map_err(read)?;
        let what = path.display().to_string();
        let need = match add.mode {
            Mode::Copy => before.len + outboard_bytes(before.len),
            Mode::Reference => outboard_bytes(before.len),
        };
        let _reserved = self.reserve(need).await.map_err(|source| AddError::Full {
            what: what.clone(),
            source,
        })?;
        let _lock = self.shared.collect_lock.read().await;
        let options = AddPathOptions {
            path: path.clone(),
            mode: match add.mode {
                Mode::Copy => ImportMode::Copy,
                Mode::Reference => ImportMode::TryReference,
            },
            format: add.format.into(),
        };
        let adding = self.shared.api.add_path_with_opts(options);
        let (tag, bytes) = self.import(adding, &what, &mut progress).await?;
        if Stamp::of(path).map_err(read)? != before || bytes != before.len {
            return Err(AddError::Changed { path: path.clone() });
        }
        let reference = (add.mode == Mode::Reference && bytes > INLINE_MAX).then(|| Reference {
            path: path.clone(),
            stamp: before,
        });
        self.acknowledge(tag, bytes, &what, add.reason, reference).await
    }

    /// Adds bytes from memory.
    pub async fn add_bytes(&self, bytes: Bytes, format: Format, reason: Reason) -> Result<Added, AddError> {
        let len = bytes.len() as u64;
        let what = format!("{len} bytes");
        let need = len + outboard_bytes(len);
        let _reserved = self.reserve(need).await.map_err(|source| AddError::Full {
            what: what.clone(),
            source,
        })?;
        let _lock = self.shared.collect_lock.read().await;
        let format = format.into();
        let adding = self
            .shared
            .api
            .add_bytes_with_opts(AddBytesOptions { data: bytes, format });
        let (tag, len) = self.import(adding, &what, &mut |_| ()).await?;
        self.acknowledge(tag, len, &what, reason, None).await
    }

    /// Adds the output of a stream. It goes to a temporary file first, so that a slow stream does not block a
    /// collection.
    pub async fn add_stream(
        &self,
        stream: impl Stream<Item = io::Result<Bytes>> + Send,
        format: Format,
        reason: Reason,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Added, AddError> {
        let what = "a stream".to_owned();
        let file = Incoming::create(&self.shared.incoming());
        let write = |source: io::Error| AddError::Store {
            what: "a stream".to_owned(),
            why: source.to_string(),
        };
        let mut out = tokio::fs::File::create(&file.0).await.map_err(write)?;
        let mut stream = std::pin::pin!(stream);
        let (mut bytes, mut promised) = (0u64, Vec::new());
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|source| AddError::Stream { bytes, source })?;
            bytes += piece.len() as u64;
            if bytes > promised.len() as u64 * RECHECK_SPACE_BYTES {
                // Twice: the bytes are copied once more from the temporary file.
                let reserved = self.reserve(2 * RECHECK_SPACE_BYTES.min(bytes)).await;
                promised.push(reserved.map_err(|source| AddError::Full {
                    what: what.clone(),
                    source,
                })?);
            }
            out.write_all(&piece).await.map_err(write)?;
            progress(Progress::Copied(bytes));
        }
        out.flush().await.map_err(write)?;
        drop((out, promised));
        let mode = Mode::Copy;
        self.add_path(&file.0, Add { mode, format, reason }, progress).await
    }

    /// Waits until the bytes are in the database; checks free space meanwhile.
    async fn import(
        &self,
        adding: AddProgress<'_>,
        what: &str,
        progress: &mut (impl FnMut(Progress) + Send),
    ) -> Result<(TempTag, u64), AddError> {
        let failed = |why: String| AddError::Store {
            what: what.to_owned(),
            why,
        };
        let mut items = std::pin::pin!(adding.stream().await);
        let (mut len, mut asked, mut is_busy) = (0, 0, false);
        loop {
            let item = match items.next().now_or_never() {
                Some(item) => item,
                None if is_busy && len >= POLL_FROM_BYTES => {
                    tokio::time::sleep(POLL_EVERY).await;
                    continue;
                }
                None => items.next().await,
            };
            let Some(item) = item else { break };
            is_busy = matches!(
                item,
                AddProgressItem::CopyProgress(_) | AddProgressItem::OutboardProgress(_)
            );
            match item {
                AddProgressItem::Size(bytes) => {
                    len = bytes;
                    progress(Progress::Bytes(bytes));
                }
                AddProgressItem::CopyProgress(bytes) => {
                    progress(Progress::Copied(bytes));
                    if bytes >= asked + RECHECK_SPACE_BYTES {
                        asked = bytes;
                        // The bytes left to copy are reserved already; only the floor is checked.
                        self.reserve(0).await.map_err(|source| AddError::Full {
                            what: what.to_owned(),
                            source,
                        })?;
                    }
                }
                AddProgressItem::CopyDone => progress(Progress::Copied(len)),
                AddProgressItem::OutboardProgress(bytes) => progress(Progress::Hashed(bytes)),
                AddProgressItem::Done(tag) => {
                    progress(Progress::Hashed(len));
                    return Ok((tag, len));
                }
                AddProgressItem::Error(error) => return Err(failed(error.to_string())),
            }
        }
        Err(failed("the blob store has stopped; restart the node".to_owned()))
    }

    /// Makes imported content durable and records its reason.
    async fn acknowledge(
        &self,
        tag: TempTag,
        bytes: u64,
        what: &str,
        reason: Reason,
        reference: Option<Reference>,
    ) -> Result<Added, AddError> {
        let HashAndFormat { hash, format } = tag.hash_and_format();
        let hash: BlobHash = from_iroh(hash);
        let content = match format.is_raw() {
            true => Content::blob(hash),
            false => Content::sequence(hash),
        };
        let not_durable = |source| AddError::NotDurable {
            what: what.to_owned(),
            source,
        };
        // Sync first: a recorded reason for an absent blob would be reported as missing by fsck.
        self.settle(Content::blob(hash)).await.map_err(not_durable)?;
        // Bytes in the store take precedence over a file outside.
        let owned = bytes <= INLINE_MAX || self.shared.data_file(hash).exists();
        let place = match reference {
            Some(reference) if !owned => Entry::Refer(hash, reference),
            Some(_) | None => Entry::Forget(hash),
        };
        self.record(vec![place, Entry::Pin(content, reason)])
            .await
            .map_err(|source| AddError::Pin {
                what: what.to_owned(),
                source,
            })?;
        drop(tag);
        Ok(Added { content, bytes })
    }
}

/// Returns the size of an outboard: 64 bytes for each 16 KiB, rounded up.
fn outboard_bytes(len: u64) -> u64 {
    (len / 256).saturating_add(64)
}

/// A temporary file, removed on drop.
struct Incoming(PathBuf);

impl Incoming {
    fn create(dir: &Path) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        // Names cannot collide: the directory belongs to this process, and is emptied when the store opens.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(dir.join(format!("{}.part", NEXT.fetch_add(1, Ordering::Relaxed))))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
