//! Collection: what has no reason and no hold is deleted.
//!
//! One look at the books decides, and while the deletion runs nobody can add to them: imports, pins and holds wait at
//! the gate. A sequence that cannot be read stops the collection: its children would look as if nobody wanted them.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    time::Duration,
};

use iroh_blobs::Hash;
use protocol::BlobHash;
use tokio::sync::RwLockWriteGuard;

use super::{
    index::{Entry, condemned},
    log::IndexError,
    read::{ReadError, Status},
    reason::{Content, Format, ours, theirs},
    store::BlobStore,
    sweep::SweepStopped,
};

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// What it deleted.
    pub deleted: BTreeSet<BlobHash>,
    /// How many blobs stay.
    pub live: usize,
}

/// Why nothing was deleted, or not for certain.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Imports went on for longer than we wait.
    #[error("imports went on for {waited_ms} ms; nothing was collected, try again later")]
    Busy {
        /// How long we waited.
        waited_ms: u64,
    },
    /// A root does not say what its children are.
    #[error("the children of {hash:#} are not known, so nothing was collected; mend or unpin it")]
    Root {
        /// The root.
        hash: BlobHash,
        /// Why it was not read.
        #[source]
        source: ReadError,
    },
    /// The store does not say what it has.
    #[error("the blobs could not be listed: {why}")]
    List {
        /// What it said.
        why: String,
    },
    /// What was deleted could not be noted.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Deleting is not possible any more.
    #[error(transparent)]
    Stopped(#[from] SweepStopped),
    /// The store was shut down.
    #[error("the blob store is closed")]
    Closed,
}

impl BlobStore {
    /// Deletes what has neither a reason nor a hold. Call it now and then, and when there is no room.
    pub async fn collect(&self) -> Result<Collected, CollectError> {
        let done = self.collect_once().await;
        match &done {
            Ok(collected) => self.shared.tally.collected(collected.deleted.len()),
            Err(error) => self.shared.tally.failed(error),
        }
        done
    }

    async fn collect_once(&self) -> Result<Collected, CollectError> {
        let gate = self.alone().await?;
        let stored = self.stored().await?;
        let live = self.live().await?;
        let doomed = condemned(&stored, &live);
        if !doomed.is_empty() {
            self.delete(&gate, &stored, &doomed).await?;
        }
        if let Err(error) = self.shared.clear_half_done() {
            // The room they take is missed, nothing else is.
            tracing::warn!(%error, dir = %self.shared.dir.display(), "could not clear half-done imports");
        }
        Ok(Collected {
            live: stored.len() - doomed.len(),
            deleted: doomed,
        })
    }

    /// Waits until nothing is being added, for as long as the settings say.
    pub(super) async fn alone(&self) -> Result<RwLockWriteGuard<'_, ()>, CollectError> {
        let waited_ms = self.shared.settings.collect_patience_ms;
        tokio::time::timeout(Duration::from_millis(waited_ms), self.shared.gate.write())
            .await
            .map_err(|_| CollectError::Busy { waited_ms })
    }

    /// Every blob with any bytes here.
    pub(super) async fn stored(&self) -> Result<BTreeSet<BlobHash>, CollectError> {
        // What is batched may still be going away or coming in.
        self.sync_db().await.map_err(|why| CollectError::List { why })?;
        let hashes = self
            .shared
            .api
            .list()
            .hashes()
            .await
            .map_err(|error| CollectError::List { why: error.to_string() })?;
        Ok(hashes.into_iter().map(ours).collect())
    }

    /// Everything that must stay.
    async fn live(&self) -> Result<BTreeSet<BlobHash>, CollectError> {
        let mut roots: BTreeSet<Content> = self.shared.holds.held().into_iter().collect();
        roots.extend(self.kept().into_iter().map(|(hash, kept)| Content {
            hash,
            format: kept.format,
        }));
        let mut live = BTreeSet::new();
        for Content { hash, format } in roots {
            live.insert(hash);
            // Of a root that is not all here nobody has read a child.
            let whole = format == Format::Sequence && matches!(self.status(hash).await, Status::Complete { .. });
            if whole {
                let children = self.children(hash).await;
                live.extend(children.map_err(|source| CollectError::Root { hash, source })?);
            }
        }
        Ok(live)
    }

    /// Deletes some of what is stored. Whoever calls it holds the gate alone.
    pub(super) async fn delete(
        &self,
        _alone: &RwLockWriteGuard<'_, ()>,
        stored: &BTreeSet<BlobHash>,
        doomed: &BTreeSet<BlobHash>,
    ) -> Result<(), CollectError> {
        let stays: HashSet<Hash> = stored.difference(doomed).map(|&hash| theirs(hash)).collect();
        {
            let sweeper = self.shared.sweeper.lock().await;
            sweeper.as_ref().ok_or(CollectError::Closed)?.sweep(stays).await?;
        }
        self.record(doomed.iter().map(|&hash| Entry::Forget(hash)).collect())
            .await?;
        Ok(())
    }
}

impl From<CollectError> for io::Error {
    fn from(error: CollectError) -> Self {
        Self::other(error)
    }
}
