//! Reasons given and taken away, holds, and the moment from which a download is safe.

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
    reason::{Content, Format, Reason, theirs},
    room::Full,
    store::BlobStore,
};

/// Why a reason was not written down. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[error("could not write down that {hash:#} is kept or not")]
pub struct PinError {
    /// The blob.
    pub hash: BlobHash,
    /// What went wrong.
    #[source]
    pub source: IndexError,
}

/// Why a hold was not given.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// What is to come does not fit.
    #[error("there is no room for {hash:#}")]
    Full {
        /// The blob.
        hash: BlobHash,
        /// How much is missing.
        #[source]
        source: Full,
    },
}

/// Why a download does not count as stored.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// Some of it is not here.
    #[error("{hash:#} is not complete; fetch the rest of it")]
    Incomplete {
        /// The blob, which may be a child of the one that was asked about.
        hash: BlobHash,
    },
    /// The root could not be read.
    #[error(transparent)]
    Root(#[from] ReadError),
    /// The bytes are not safe.
    #[error("could not sync {}", file.display())]
    Sync {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database is gone.
    #[error("the blob database has stopped; restart the node, and if the disk was full, free some space first: {why}")]
    Stopped {
        /// What it said.
        why: String,
    },
}

impl BlobStore {
    /// Keeps `content` for `reason`, whether it is here yet or not. Before a download, this protects it from its first
    /// byte on, across restarts too.
    pub async fn pin(&self, content: Content, reason: Reason) -> Result<(), PinError> {
        let _gate = self.shared.gate.read().await;
        let hash = content.hash;
        self.record(vec![Entry::Pin(content, reason)])
            .await
            .map_err(|source| PinError { hash, source })
    }

    /// Takes the reason away. What is left without one goes with the next collection.
    pub async fn unpin(&self, hash: BlobHash, reason: Reason) -> Result<(), PinError> {
        self.record(vec![Entry::Unpin(hash, reason)])
            .await
            .map_err(|source| PinError { hash, source })
    }

    /// Takes a reason away from everything it keeps, and says what that was.
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

    /// Everything that is kept, and why.
    pub fn kept(&self) -> BTreeMap<BlobHash, Kept> {
        self.shared.log().index.kept.clone()
    }

    /// Why one blob is kept; none if nobody gave a reason for this very blob.
    pub fn why(&self, hash: BlobHash) -> Option<Kept> {
        self.shared.log().index.kept.get(&hash).cloned()
    }

    /// Holds `content` while it is fetched or served, and promises room for the `bytes` that are still to come. Waits
    /// while a collection deletes.
    pub async fn hold(&self, content: Content, bytes: u64) -> Result<Hold, HoldError> {
        let _gate = self.shared.gate.read().await;
        let hash = content.hash;
        let reserved = self
            .reserve(bytes)
            .await
            .map_err(|source| HoldError::Full { hash, source })?;
        let hold = self.shared.holds.hold(content, reserved);
        let absent = matches!(self.shared.api.status(theirs(hash)).await, Ok(BlobStatus::NotFound));
        Ok(match absent {
            true => hold.watched(tokio::spawn(sync_first_bytes(self.shared.api.clone(), hash))),
            false => hold,
        })
    }

    /// Makes sure that all of `content` is here and on disk, and says how many bytes it has. Only then has a download
    /// succeeded.
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
        // The entries are in the database before their files are looked for: a blob is complete in one place only.
        self.sync_db().await.map_err(|why| SettleError::Stopped { why })?;
        self.sync_files(hashes).await?;
        Ok(total)
    }

    async fn size_of(&self, hash: BlobHash) -> Result<u64, SettleError> {
        match self.shared.api.status(theirs(hash)).await {
            Ok(BlobStatus::Complete { size }) => Ok(size),
            Ok(BlobStatus::Partial { .. } | BlobStatus::NotFound) => Err(SettleError::Incomplete { hash }),
            Err(error) => Err(SettleError::Stopped { why: error.to_string() }),
        }
    }

    /// Commits what the database has batched.
    pub(super) async fn sync_db(&self) -> Result<(), String> {
        self.shared.api.sync_db().await.map_err(|error| error.to_string())
    }

    /// Syncs the files of some blobs, and the directory that names them.
    pub(super) async fn sync_files(&self, hashes: Vec<BlobHash>) -> Result<(), SettleError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            let mut any = false;
            for file in hashes
                .iter()
                .flat_map(|&hash| [shared.data_file(hash), shared.tree_file(hash)])
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

/// Whether there was a file to sync: small blobs live in the database, referenced ones outside.
fn sync_file(file: &Path) -> io::Result<bool> {
    match fs::File::open(file) {
        Ok(file) => file.sync_all().map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Commits the entry of a download as soon as it has one. Without an entry, a restart would not look at the bytes.
async fn sync_first_bytes(api: Store, hash: BlobHash) {
    let Ok(states) = api.observe(theirs(hash)).stream().await else {
        return;
    };
    let mut states = std::pin::pin!(states);
    while let Some(state) = states.next().await {
        if !state.is_empty() {
            break;
        }
    }
    // Observers hear of bytes a moment before the database does.
    for wait_ms in [0, 1, 2, 4, 8, 16, 32, 64] {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let synced = api.sync_db().await.is_ok();
        let known = !matches!(api.status(theirs(hash)).await, Ok(BlobStatus::NotFound));
        if !synced || known {
            return;
        }
    }
}
