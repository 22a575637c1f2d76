//! The store as it is open: what it consists of, how it opens and how it closes.

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
    room::{Full, Room, Usage},
    stats::Tally,
    sweep::{self, Sweeper},
};
use crate::{
    disk::free_bytes,
    lock::{HomeLock, LockError},
};

/// The crate batches its database writes this long. A first piece of a download is lost if we are killed within it.
const WRITE_WITHIN: Duration = Duration::from_millis(50);
/// Trees of hashes up to this size lie in the database: that of 1 GiB. The crate writes a tree that has a file of its
/// own in steps of 32 bytes, which makes an import by reference half as fast as one whose tree is made in memory.
const TREE_INLINE_MAX: u64 = 4 << 20;
/// How often a store that another process has is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Our own half-written files.
const INCOMING: &str = "incoming";

/// How the store is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How much of the disk it may have.
    pub room: Room,
    /// How many blobs are checked at once.
    pub checks: usize,
    /// How long a collection waits for imports to end before it gives way.
    pub collect_patience_ms: u64,
    /// How long opening waits for another process to close the store.
    pub open_patience_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            room: Room {
                quota: None,
                floor: 1 << 30,
            },
            checks: std::thread::available_parallelism().map_or(1, usize::from),
            collect_patience_ms: 30_000,
            open_patience_ms: 0,
        }
    }
}

/// Why the store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has it open.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// A directory could not be made or cleared.
    #[error("could not prepare {}; check that it is a directory this user may write to", dir.display())]
    Prepare {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index of pins did not open.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The database of blobs did not open.
    #[error("could not open the blob database in {}: {why}", dir.display())]
    Database {
        /// The directory.
        dir: PathBuf,
        /// What iroh-blobs said, with its sources.
        why: String,
    },
}

/// The blob store. A clone is the same store.
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
    /// Shared by whatever brings blobs in or gives them a reason; taken alone while a collection deletes.
    pub gate: RwLock<()>,
    pub sweeper: tokio::sync::Mutex<Option<Sweeper>>,
    pub tally: Tally,
    lock: Mutex<Option<HomeLock>>,
}

impl BlobStore {
    /// Opens the store in `dir`, or makes it. What earlier imports left half done is cleared away.
    pub async fn open(dir: &Path, settings: Settings) -> Result<Self, OpenError> {
        let dir = std::path::absolute(dir).map_err(|source| OpenError::Prepare {
            dir: dir.to_owned(),
            source,
        })?;
        let until = Instant::now() + Duration::from_millis(settings.open_patience_ms);
        let (lock, log) = prepared(&dir, until).await?;
        let (store, sweeper) = open_database(&dir, until).await?;
        let shared = Arc::new(Shared {
            dir,
            settings,
            api: store.into(),
            log: Mutex::new(log),
            holds: Arc::default(),
            gate: RwLock::new(()),
            sweeper: tokio::sync::Mutex::new(Some(sweeper)),
            tally: Tally::default(),
            lock: Mutex::new(Some(lock)),
        });
        Ok(Self { shared })
    }

    /// The store as transfers see it. Take a [`super::Hold`] before data comes in through it.
    pub fn api(&self) -> &Store {
        &self.shared.api
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Closes the store: waits for what is being written, and then the directory may be opened again. Whatever is called
    /// on a clone afterwards fails.
    pub async fn shutdown(&self) {
        let mut sweeper = self.shared.sweeper.lock().await;
        let _alone = self.shared.gate.write().await;
        let Some(sweeper) = sweeper.take() else { return };
        match self.shared.api.shutdown().await {
            Ok(()) => sweeper.close(),
            Err(error) => tracing::error!(%error, "the blob database had stopped before it was closed"),
        }
        *self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Writes down what was decided, durably.
    pub(super) async fn record(&self, entries: Vec<Entry>) -> Result<(), IndexError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.log().append(entries))
            .await
            .expect("an append does not panic")
    }

    /// Promises room for `need` bytes, if there is any.
    pub(super) async fn reserve(&self, need: u64) -> Result<Reserved, Full> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            let usage = shared.usage();
            shared.holds.reserve(need, |reserved| {
                shared.settings.room.admit(Usage { reserved, ..usage }, need)
            })
        })
        .await
        .expect("counting does not panic")
    }
}

impl Shared {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        // An append that panicked was not applied; the file is cut to what is applied by the next one.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the disk and the books say. Blocks.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            used: used_bytes(&self.dir),
            reserved: self.holds.reserved(),
            // A disk that does not say how much is free is found full by the write that fails.
            free: free_bytes(&self.dir).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn data_file(&self, hash: protocol::BlobHash) -> PathBuf {
        self.dir
            .join("data")
            .join(format!("{}.data", super::reason::theirs(hash).to_hex()))
    }

    pub(super) fn tree_file(&self, hash: protocol::BlobHash) -> PathBuf {
        self.dir
            .join("data")
            .join(format!("{}.obao4", super::reason::theirs(hash).to_hex()))
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.dir.join(INCOMING)
    }

    /// Removes what imports left half done. Only while there are none.
    pub(super) fn clear_half_done(&self) -> io::Result<()> {
        clear(&self.dir)
    }
}

/// Prepares, and waits while another process has the store. Whoever gives up waiting leaves nothing behind.
async fn prepared(dir: &Path, until: Instant) -> Result<(HomeLock, Log), OpenError> {
    loop {
        let place = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || prepare(&place)).await;
        match opened.expect("opening does not panic") {
            Err(OpenError::Locked(LockError::Held { .. })) if Instant::now() < until => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            opened => return opened,
        }
    }
}

/// Opens the database of iroh-blobs, and waits while another process has it open.
///
/// A process that exits without [`BlobStore::shutdown`] gives up the lock of the folder a moment before its database is
/// closed, so holding that lock does not prove that the database is free.
async fn open_database(dir: &Path, until: Instant) -> Result<(FsStore, Sweeper), OpenError> {
    loop {
        let mut options = Options::new(dir);
        options.batch.max_write_duration = WRITE_WITHIN;
        options.inline.max_outboard_inlined = TREE_INLINE_MAX;
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
        tokio::time::sleep(LOOK_AGAIN).await;
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

/// Bytes on disk, holes not counted.
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
