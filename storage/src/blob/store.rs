//! The open store: its parts, opening and closing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use iroh_blobs::{
    api::Store,
    store::fs::{FsStore, options::Options},
};
use tokio::sync::RwLock;

use super::{
    hold::{Holds, Reserved},
    index::Entry,
    log::{IndexError, Log},
    space::{Full, SpaceLimits, Usage},
    stats::Counters,
    sweep::{self, Sweeper},
};
use crate::{
    disk::free_bytes,
    lock::{HomeLock, LockError},
};

/// How long iroh-blobs batches database writes. A kill within this time loses the first bytes of a download.
const WRITE_WITHIN: Duration = Duration::from_millis(50);
/// Largest outboard that is stored in the database, in bytes: that of 1 GiB. iroh-blobs writes an outboard in a file
/// of its own in steps of 32 bytes, which halves the speed of an import by reference.
const OUTBOARD_INLINE_MAX: u64 = 4 << 20;
/// Polling interval while another process has the store locked.
const LOCK_POLL_EVERY: Duration = Duration::from_millis(20);
/// Directory of partial imports.
const INCOMING: &str = "incoming";

/// The store's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub space: SpaceLimits,
    /// Number of blobs that fsck checks in parallel.
    pub checks: usize,
    /// How long a collection waits for imports to pause before it gives up.
    pub collect_patience_ms: u64,
    /// How long opening waits for another process to close the store.
    pub open_patience_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            space: SpaceLimits {
                quota: None,
                floor: 1 << 30,
            },
            checks: std::thread::available_parallelism().map_or(1, usize::from),
            collect_patience_ms: 30_000,
            open_patience_ms: 0,
        }
    }
}

/// Error of opening the store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Locked(#[from] LockError),
    #[error("could not prepare {}; check that it is a directory this user may write to", dir.display())]
    Prepare { dir: PathBuf, source: io::Error },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("could not open the blob database in {}: {why}", dir.display())]
    Database {
        dir: PathBuf,
        /// The error of iroh-blobs, with its sources.
        why: String,
    },
}

/// The blob store. Clones share it.
#[derive(Debug, Clone)]
pub struct BlobStore {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub dir: PathBuf,
    pub settings: Settings,
    pub api: Store,
    pub log: Mutex<Log>,
    pub holds: Arc<Holds>,
    /// Shared by operations that add blobs or reasons; exclusive while a collection deletes.
    pub collect_lock: RwLock<()>,
    pub sweeper: tokio::sync::Mutex<Option<Sweeper>>,
    pub counters: Counters,
    lock: Mutex<Option<HomeLock>>,
}

impl BlobStore {
    /// Opens or creates the store in `dir`, and clears partial imports.
    pub async fn open(dir: &Path, settings: Settings) -> Result<Self, OpenError> {
        let dir = std::path::absolute(dir).map_err(|source| OpenError::Prepare {
            dir: dir.to_owned(),
            source,
        })?;
        let until = Instant::now() + Duration::from_millis(settings.open_patience_ms);
        let (lock, log) = prepare_when_unlocked(&dir, until).await?;
        let (store, sweeper) = open_database(&dir, until).await?;
        let shared = Arc::new(Shared {
            dir,
            settings,
            api: store.into(),
            log: Mutex::new(log),
            holds: Arc::default(),
            collect_lock: RwLock::new(()),
            sweeper: tokio::sync::Mutex::new(Some(sweeper)),
            counters: Counters::default(),
            lock: Mutex::new(Some(lock)),
        });
        Ok(Self { shared })
    }

    /// Returns the underlying store for transfers. Take a [`super::Hold`] before writing through it.
    pub fn api(&self) -> &Store {
        &self.shared.api
    }

    /// Returns the store's directory, as an absolute path.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Closes the store after running writes; the directory can then be opened again. Later calls on clones fail.
    pub async fn shutdown(&self) {
        let mut sweeper = self.shared.sweeper.lock().await;
        let _exclusive = self.shared.collect_lock.write().await;
        let Some(sweeper) = sweeper.take() else { return };
        match self.shared.api.shutdown().await {
            Ok(()) => sweeper.close(),
            Err(error) => tracing::error!(%error, "the blob database had stopped before it was closed"),
        }
        *self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Durably records changes of the index.
    pub(super) async fn record(&self, entries: Vec<Entry>) -> Result<(), IndexError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.log().append(entries))
            .await
            .expect("an append does not panic")
    }

    /// Reserves space for `need` bytes.
    pub(super) async fn reserve(&self, need: u64) -> Result<Reserved, Full> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            let usage = shared.usage();
            shared.holds.reserve(need, |reserved| {
                shared.settings.space.admit(Usage { reserved, ..usage }, need)
            })
        })
        .await
        .expect("counting does not panic")
    }
}

impl Shared {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        // A panicked append was not applied; the next one truncates the file to what is applied.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current use of the disk. Blocks.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            used: used_bytes(&self.dir),
            reserved: self.holds.reserved(),
            // If free space is unknown, the failing write will report a full disk.
            free: free_bytes(&self.dir).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn data_file(&self, hash: protocol::BlobHash) -> PathBuf {
        self.dir
            .join("data")
            .join(format!("{}.data", super::reason::to_iroh(hash).to_hex()))
    }

    pub(super) fn outboard_file(&self, hash: protocol::BlobHash) -> PathBuf {
        self.dir
            .join("data")
            .join(format!("{}.obao4", super::reason::to_iroh(hash).to_hex()))
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.dir.join(INCOMING)
    }

    /// Removes partial imports. Call it only while no import runs.
    pub(super) fn clear_partial_imports(&self) -> io::Result<()> {
        clear(&self.dir)
    }
}

/// Prepares the directory, and waits while another process has it locked. Cancelling it leaves nothing behind.
async fn prepare_when_unlocked(dir: &Path, until: Instant) -> Result<(HomeLock, Log), OpenError> {
    loop {
        let place = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || prepare(&place)).await;
        match opened.expect("opening does not panic") {
            Err(OpenError::Locked(LockError::Held { .. })) if Instant::now() < until => {
                tokio::time::sleep(LOCK_POLL_EVERY).await;
            }
            opened => return opened,
        }
    }
}

/// Opens the database of iroh-blobs, and waits while another process has it open.
///
/// A process that exits without [`BlobStore::shutdown`] releases the lock of the directory slightly before its database is
/// closed, so holding that lock does not prove that the database is free.
async fn open_database(dir: &Path, until: Instant) -> Result<(FsStore, Sweeper), OpenError> {
    loop {
        let mut options = Options::new(dir);
        options.batch.max_write_duration = WRITE_WITHIN;
        options.inline.max_outboard_inlined = OUTBOARD_INLINE_MAX;
        let (gc, sweeper) = sweep::pair();
        options.gc = Some(gc);
        let why = match FsStore::load_with_opts(dir.join("blobs.db"), options).await {
            Ok(store) => return Ok((store, sweeper)),
            Err(error) => format!("{error:#}"),
        };
        // redb's error arrives as text, through two libraries.
        if !why.contains("already open") || Instant::now() >= until {
            return Err(OpenError::Database {
                dir: dir.to_owned(),
                why,
            });
        }
        tokio::time::sleep(LOCK_POLL_EVERY).await;
    }
}

fn prepare(dir: &Path) -> Result<(HomeLock, Log), OpenError> {
    let prepare = |source| OpenError::Prepare {
        dir: dir.to_owned(),
        source,
    };
    for sub in ["data", "temp", INCOMING] {
        fs::create_dir_all(dir.join(sub)).map_err(prepare)?;
    }
    let lock = HomeLock::acquire(dir)?;
    clear(dir).map_err(prepare)?;
    Ok((lock, Log::open(dir)?))
}

fn clear(dir: &Path) -> io::Result<()> {
    for sub in ["temp", INCOMING] {
        for file in fs::read_dir(dir.join(sub))? {
            fs::remove_file(file?.path())?;
        }
    }
    Ok(())
}

/// Returns allocated bytes; holes are not counted.
fn used_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let of = |path: &Path| -> u64 {
        let files = fs::read_dir(path).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok())
            .filter(fs::Metadata::is_file)
            .map(|about| about.blocks() * 512)
            .sum()
    };
    [dir.to_owned(), dir.join("data"), dir.join("temp"), dir.join(INCOMING)]
        .iter()
        .map(|path| of(path))
        .sum()
}
