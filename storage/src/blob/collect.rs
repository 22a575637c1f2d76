//! Garbage collection: blobs without a reason and without a hold are deleted.
//!
//! One snapshot of the index and the holds decides. While the deletion runs, imports, pins and holds wait for the lock, so
//! nothing can be added to what is being deleted. A sequence that cannot be read stops the collection: its children would
//! look unreferenced.
//!
//! # Why not iroh-blobs' tags and its own collection
//!
//! Its collector lists tags first and temporary tags afterwards, so it can delete a blob that was tagged in between, it
//! collects partial downloads, and its task ends at the first error. Reasons in our own index and a lock around the deletion
//! exclude these races; see [`super::sweep`] for the deletion itself.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    time::Duration,
};

use iroh_blobs::Hash;
use protocol::BlobHash;
use tokio::sync::RwLockWriteGuard;

use super::{
    index::{Entry, collectable},
    log::IndexError,
    read::{ReadError, Status},
    reason::{Content, Format, from_iroh, to_iroh},
    store::BlobStore,
    sweep::SweepStopped,
};

/// The result of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    pub deleted: BTreeSet<BlobHash>,
    /// Number of remaining blobs.
    pub live: usize,
}

/// Error of a collection. Nothing was deleted, or it is not certain what was.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Imports did not pause within the configured time.
    #[error("imports went on for {waited_ms} ms; nothing was collected, try again later")]
    Busy { waited_ms: u64 },
    /// A sequence that is kept cannot be read, so its children are unknown.
    #[error("the children of {hash:#} are not known, so nothing was collected; repair or unpin it")]
    Root {
        hash: BlobHash,
        #[source]
        source: ReadError,
    },
    #[error("the blobs could not be listed: {why}")]
    List {
        /// The store's error.
        why: String,
    },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Stopped(#[from] SweepStopped),
    #[error("the blob store is closed")]
    Closed,
}

impl BlobStore {
    /// Deletes everything that has neither a reason nor a hold. The caller runs it periodically, and when space is
    /// short.
    pub async fn collect(&self) -> Result<Collected, CollectError> {
        let done = self.collect_once().await;
        match &done {
            Ok(collected) => self.shared.counters.collected(collected.deleted.len()),
            Err(error) => self.shared.counters.failed(error),
        }
        done
    }

    async fn collect_once(&self) -> Result<Collected, CollectError> {
        let exclusive = self.lock_exclusively().await?;
        let stored = self.stored().await?;
        let live = self.live().await?;
        let garbage = collectable(&stored, &live);
        if !garbage.is_empty() {
            self.delete(&exclusive, &stored, &garbage).await?;
        }
        if let Err(error) = self.shared.clear_partial_imports() {
            // Only their space is wasted; nothing else depends on them.
            tracing::warn!(%error, dir = %self.shared.dir.display(), "could not clear half-done imports");
        }
        Ok(Collected {
            live: stored.len() - garbage.len(),
            deleted: garbage,
        })
    }

    /// Waits until no import runs, at most as long as the settings allow, and keeps new ones waiting.
    pub(super) async fn lock_exclusively(&self) -> Result<RwLockWriteGuard<'_, ()>, CollectError> {
        let waited_ms = self.shared.settings.collect_patience_ms;
        tokio::time::timeout(Duration::from_millis(waited_ms), self.shared.collect_lock.write())
            .await
            .map_err(|_| CollectError::Busy { waited_ms })
    }

    /// Returns every blob of which any bytes are stored.
    pub(super) async fn stored(&self) -> Result<BTreeSet<BlobHash>, CollectError> {
        // Batched writes may still add or remove entries.
        self.sync_db().await.map_err(|why| CollectError::List { why })?;
        let hashes = self
            .shared
            .api
            .list()
            .hashes()
            .await
            .map_err(|error| CollectError::List { why: error.to_string() })?;
        Ok(hashes.into_iter().map(from_iroh).collect())
    }

    /// Returns everything that must be kept.
    async fn live(&self) -> Result<BTreeSet<BlobHash>, CollectError> {
        let mut roots: BTreeSet<Content> = self.shared.holds.held().into_iter().collect();
        roots.extend(self.kept().into_iter().map(|(hash, kept)| Content {
            hash,
            format: kept.format,
        }));
        let mut live = BTreeSet::new();
        for Content { hash, format } in roots {
            live.insert(hash);
            // No child of an incomplete root can have been read.
            let whole = format == Format::Sequence && matches!(self.status(hash).await, Status::Complete { .. });
            if whole {
                let children = self.children(hash).await;
                live.extend(children.map_err(|source| CollectError::Root { hash, source })?);
            }
        }
        Ok(live)
    }

    /// Deletes some of the stored blobs. The parameter proves that the caller has the exclusive lock.
    pub(super) async fn delete(
        &self,
        _exclusive: &RwLockWriteGuard<'_, ()>,
        stored: &BTreeSet<BlobHash>,
        garbage: &BTreeSet<BlobHash>,
    ) -> Result<(), CollectError> {
        let keep: HashSet<Hash> = stored.difference(garbage).map(|&hash| to_iroh(hash)).collect();
        {
            let sweeper = self.shared.sweeper.lock().await;
            sweeper.as_ref().ok_or(CollectError::Closed)?.sweep(keep).await?;
        }
        self.record(garbage.iter().map(|&hash| Entry::Forget(hash)).collect())
            .await?;
        Ok(())
    }
}

impl From<CollectError> for io::Error {
    fn from(error: CollectError) -> Self {
        Self::other(error)
    }
}
