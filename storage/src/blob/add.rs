//! Bytes into the store, from a file, from memory or from a stream, each with a reason to stay.
//!
//! The order is what makes an import safe: room is promised first; the bytes land and are synced; the database is
//! committed; the reason is written down; only then does the caller hear of it. Whoever is killed in between leaves a
//! blob without a reason, which the next collection takes, or a file without a name, which the next start removes.

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
    reason::{Content, Format, Reason, ours},
    reference::{Reference, Stamp},
    room::Full,
    store::BlobStore,
};

/// Blobs up to this size lie in the database, and so does a file of that size that was added by reference.
const INLINE_MAX: u64 = 16 << 10;
/// After so many bytes it is asked again whether there is room: others write to the same disk.
const ASK_AGAIN: u64 = 64 << 20;

/// So often an import is looked at while it copies or hashes. It offers to tell of each group of 16 KiB, and to be woken for
/// that costs about as much as to hash it.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A shorter import is over before it is looked at twice.
const LOOK_FROM: u64 = 1 << 20;

/// Whether the bytes are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Into the store. The file may change afterwards.
    Copy,
    /// They stay where they are, and the file must stay as it is.
    Reference,
}

/// How something is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// Whether the bytes are copied.
    pub mode: Mode,
    /// What they are.
    pub format: Format,
    /// Why they stay.
    pub reason: Reason,
}

/// What was added. It is durable and has its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Its name.
    pub content: Content,
    /// How long it is.
    pub bytes: u64,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is so long.
    Bytes(u64),
    /// So many bytes are copied.
    Copied(u64),
    /// So many bytes are hashed.
    Hashed(u64),
}

/// Why something was not added. What was stored before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not fit.
    #[error("there is no room for {what}")]
    Full {
        /// What was added.
        what: String,
        /// How much is missing.
        #[source]
        source: Full,
    },
    /// Somebody wrote to it meanwhile.
    #[error("{} was changed while it was added; add it again when nothing writes to it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The stream that was to be added broke off.
    #[error("the stream broke off after {bytes} bytes")]
    Stream {
        /// How many had come.
        bytes: u64,
        /// What it said.
        source: io::Error,
    },
    /// It could not be written.
    #[error("could not store {what}: {why}")]
    Store {
        /// What was added.
        what: String,
        /// What the store said.
        why: String,
    },
    /// It could not be made safe.
    #[error("{what} was stored but is not safe")]
    Unsafe {
        /// What was added.
        what: String,
        /// Why not.
        #[source]
        source: SettleError,
    },
    /// The reason could not be written down, so the bytes go with the next collection.
    #[error("{what} was stored but could not be pinned")]
    Pin {
        /// What was added.
        what: String,
        /// Why not.
        #[source]
        source: IndexError,
    },
}

impl BlobStore {
    /// Adds a file.
    pub async fn add_path(
        &self,
        path: &Path,
        how: Add,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Added, AddError> {
        let read = |source| AddError::Read {
            path: path.to_owned(),
            source,
        };
        // Links are followed now: a reference is to the file and not to the way there.
        let path = &tokio::fs::canonicalize(path).await.map_err(read)?;
        let before = Stamp::of(path).map_err(read)?;
        let what = path.display().to_string();
        let need = match how.mode {
            Mode::Copy => before.len + tree_bytes(before.len),
            Mode::Reference => tree_bytes(before.len),
        };
        let _reserved = self.reserve(need).await.map_err(|source| AddError::Full {
            what: what.clone(),
            source,
        })?;
        let _gate = self.shared.gate.read().await;
        let options = AddPathOptions {
            path: path.clone(),
            mode: match how.mode {
                Mode::Copy => ImportMode::Copy,
                Mode::Reference => ImportMode::TryReference,
            },
            format: how.format.into(),
        };
        let adding = self.shared.api.add_path_with_opts(options);
        let (tag, bytes) = self.land(adding, &what, &mut progress).await?;
        if Stamp::of(path).map_err(read)? != before || bytes != before.len {
            return Err(AddError::Changed { path: path.clone() });
        }
        let referred = (how.mode == Mode::Reference && bytes > INLINE_MAX).then(|| Reference {
            path: path.clone(),
            stamp: before,
        });
        self.acknowledge(tag, bytes, &what, how.reason, referred).await
    }

    /// Adds bytes.
    pub async fn add_bytes(&self, bytes: Bytes, format: Format, reason: Reason) -> Result<Added, AddError> {
        let len = bytes.len() as u64;
        let what = format!("{len} bytes");
        let need = len + tree_bytes(len);
        let _reserved = self.reserve(need).await.map_err(|source| AddError::Full {
            what: what.clone(),
            source,
        })?;
        let _gate = self.shared.gate.read().await;
        let format = format.into();
        let adding = self
            .shared
            .api
            .add_bytes_with_opts(AddBytesOptions { data: bytes, format });
        let (tag, len) = self.land(adding, &what, &mut |_| ()).await?;
        self.acknowledge(tag, len, &what, reason, None).await
    }

    /// Adds what a stream yields. It is written to a file of ours first, so a slow stream holds nothing up.
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
            if bytes > promised.len() as u64 * ASK_AGAIN {
                // Twice: it is copied once more from where it lands.
                let reserved = self.reserve(2 * ASK_AGAIN.min(bytes)).await;
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

    /// Waits until the bytes are in the database, and asks again for room meanwhile.
    async fn land(
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
                None if is_busy && len >= LOOK_FROM => {
                    tokio::time::sleep(LOOK_EVERY).await;
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
                    if bytes >= asked + ASK_AGAIN {
                        asked = bytes;
                        // What is left to copy was promised to us and is not on disk yet: the floor is what matters.
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

    /// Makes what has landed safe, gives it its reason, and only then says that it was added.
    async fn acknowledge(
        &self,
        tag: TempTag,
        bytes: u64,
        what: &str,
        reason: Reason,
        referred: Option<Reference>,
    ) -> Result<Added, AddError> {
        let HashAndFormat { hash, format } = tag.hash_and_format();
        let hash: BlobHash = ours(hash);
        let content = match format.is_raw() {
            true => Content::blob(hash),
            false => Content::sequence(hash),
        };
        let unsafe_ = |source| AddError::Unsafe {
            what: what.to_owned(),
            source,
        };
        // The name first: a reason for a blob that is not there would be found missing by a check.
        self.settle(Content::blob(hash)).await.map_err(unsafe_)?;
        // Bytes that the store has itself win over a file outside.
        let owned = bytes <= INLINE_MAX || self.shared.data_file(hash).exists();
        let place = match referred {
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

/// What the tree of hashes takes: 64 bytes for each 16 KiB, rounded up.
fn tree_bytes(len: u64) -> u64 {
    (len / 256).saturating_add(64)
}

/// A file of ours that goes away with its name.
struct Incoming(PathBuf);

impl Incoming {
    fn create(dir: &Path) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        // The directory is ours alone while the store is open, and is emptied when it opens.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(dir.join(format!("{}.part", NEXT.fetch_add(1, Ordering::Relaxed))))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
