//! Pins, holds, and settling: the point from which a download is durable.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::StreamExt as _;
use iroh_blobs::api::{Store, blobs::BlobStatus};
use protocol::BlobHash;

use super::{
    hold::Hold,
    index::{Entry, Kept},
    log::{IndexError, sync_dir},
    read::ReadError,
    reason::{Content, Format, Reason, to_iroh},
    space::Full,
    store::BlobStore,
};

/// Error of recording a pin or its removal. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[error("could not record a change of the pins of {hash:#}")]
pub struct PinError {
    pub hash: BlobHash,
    #[source]
    pub source: IndexError,
}

/// Error of taking a hold.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The expected bytes do not fit.
    #[error("not enough space for {hash:#}")]
    Full {
        hash: BlobHash,
        #[source]
        source: Full,
    },
}

/// Error of settling: the download does not count as stored.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error("{hash:#} is not complete; fetch the rest of it")]
    Incomplete {
        /// The incomplete blob: the root, or one of its children.
        hash: BlobHash,
    },
    #[error(transparent)]
    Root(#[from] ReadError),
    #[error("could not sync {}", file.display())]
    Sync { file: PathBuf, source: io::Error },
    /// The database task has ended.
    #[error("the blob database has stopped; restart the node, and if the disk was full, free some space first: {why}")]
    Stopped { why: String },
}

impl BlobStore {
    /// Keeps `content` for `reason`, whether it is stored yet or not. Called before a download, this protects it from
    /// the first byte on, across restarts.
    pub async fn pin(&self, content: Content, reason: Reason) -> Result<(), PinError> {
        let _lock = self.shared.collect_lock.read().await;
        let hash = content.hash;
        self.record(vec![Entry::Pin(content, reason)])
            .await
            .map_err(|source| PinError { hash, source })
    }

    /// Removes a reason. Content without any is deleted by the next collection.
    pub async fn unpin(&self, hash: BlobHash, reason: Reason) -> Result<(), PinError> {
        self.record(vec![Entry::Unpin(hash, reason)])
            .await
            .map_err(|source| PinError { hash, source })
    }

    /// Removes a reason from everything that has it, and returns what that was.
    pub async fn unpin_all(&self, reason: &Reason) -> Result<Vec<BlobHash>, IndexError> {
        let hashes: Vec<BlobHash> = {
            let log = self.shared.log();
            let kept = log.index.kept.iter();
            kept.filter(|(_, kept)| kept.reasons.contains(reason))
                .map(|(&hash, _)| hash)
                .collect()
        };
        let entries = hashes.iter().map(|&hash| Entry::Unpin(hash, reason.clone()));
        self.record(entries.collect()).await?;
        Ok(hashes)
    }

    /// Returns everything that is kept, with the reasons.
    pub fn kept(&self) -> BTreeMap<BlobHash, Kept> {
        self.shared.log().index.kept.clone()
    }

    /// Returns the reasons for one blob. Reasons of a sequence that contains it are not included.
    pub fn reasons(&self, hash: BlobHash) -> Option<Kept> {
        self.shared.log().index.kept.get(&hash).cloned()
    }

    /// Holds `content` while it is fetched or served, and reserves space for `bytes` that are still to come. Waits
    /// while a collection deletes.
    pub async fn hold(&self, content: Content, bytes: u64) -> Result<Hold, HoldError> {
        let _lock = self.shared.collect_lock.read().await;
        let hash = content.hash;
        let reserved = self
            .reserve(bytes)
            .await
            .map_err(|source| HoldError::Full { hash, source })?;
        let hold = self.shared.holds.hold(content, reserved);
        let absent = matches!(self.shared.api.status(to_iroh(hash)).await, Ok(BlobStatus::NotFound));
        Ok(match absent {
            true => hold.watched(tokio::spawn(sync_first_bytes(self.shared.api.clone(), hash))),
            false => hold,
        })
    }

    /// Checks that all of `content` is stored, makes it durable, and returns its size in bytes. A download has
    /// succeeded only after this.
    pub async fn settle(&self, content: Content) -> Result<u64, SettleError> {
        let mut hashes = vec![content.hash];
        if content.format == Format::Sequence {
            self.size_of(content.hash).await?;
            hashes.extend(self.children(content.hash).await?);
        }
        let mut total = 0u64;
        for &hash in &hashes {
            total = total.saturating_add(self.size_of(hash).await?);
        }
        // Commit the entries before looking for their files: a blob is complete in one place only.
        self.sync_db().await.map_err(|why| SettleError::Stopped { why })?;
        self.sync_files(hashes).await?;
        Ok(total)
    }

    async fn size_of(&self, hash: BlobHash) -> Result<u64, SettleError> {
        match self.shared.api.status(to_iroh(hash)).await {
            Ok(BlobStatus::Complete { size }) => Ok(size),
            Ok(BlobStatus::Partial { .. } | BlobStatus::NotFound) => Err(SettleError::Incomplete { hash }),
            Err(error) => Err(SettleError::Stopped { why: error.to_string() }),
        }
    }

    /// Commits the batched writes of the database.
    pub(super) async fn sync_db(&self) -> Result<(), String> {
        self.shared.api.sync_db().await.map_err(|error| error.to_string())
    }

    /// Syncs the files of some blobs, and their directory.
    pub(super) async fn sync_files(&self, hashes: Vec<BlobHash>) -> Result<(), SettleError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            let mut any = false;
            for file in hashes
                .iter()
                .flat_map(|&hash| [shared.data_file(hash), shared.outboard_file(hash)])
            {
                any |= sync_file(&file).map_err(|source| SettleError::Sync { file, source })?;
            }
            let data = shared.dir.join("data");
            match any.then(|| sync_dir(&data)) {
                Some(Err(source)) => Err(SettleError::Sync { file: data, source }),
                Some(Ok(())) | None => Ok(()),
            }
        })
        .await
        .expect("syncing does not panic")
    }
}

/// Syncs a file. Returns false if there is none: small blobs are in the database, referenced ones outside.
fn sync_file(file: &Path) -> io::Result<bool> {
    match fs::File::open(file) {
        Ok(file) => file.sync_all().map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Commits the database entry of a download as soon as there is one. Without it, a restart would ignore the bytes.
async fn sync_first_bytes(api: Store, hash: BlobHash) {
    let Ok(states) = api.observe(to_iroh(hash)).stream().await else {
        return;
    };
    let mut states = std::pin::pin!(states);
    while let Some(state) = states.next().await {
        if !state.is_empty() {
            break;
        }
    }
    // Observers learn of bytes slightly before the database does.
    for wait_ms in [0, 1, 2, 4, 8, 16, 32, 64] {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let synced = api.sync_db().await.is_ok();
        let known = !matches!(api.status(to_iroh(hash)).await, Ok(BlobStatus::NotFound));
        if !synced || known {
            return;
        }
    }
}
