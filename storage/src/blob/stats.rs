//! Numbers about the store, for metrics and for the person who asks.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{collect::CollectError, store::BlobStore};

/// How the store stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blobs with any bytes here, complete or not.
    pub blobs: u64,
    /// Bytes on disk, database and trees included, files outside the store not.
    pub bytes: u64,
    /// Bytes promised to imports and downloads under way.
    pub reserved_bytes: u64,
    /// Bytes the file system has left for us.
    pub free_bytes: u64,
    /// Blobs and roots with a reason to be kept.
    pub pinned: u64,
    /// Blobs and roots that are held by something under way.
    pub held: u64,
    /// Blobs whose bytes lie in files outside the store.
    pub referenced: u64,
    /// When a collection last ended well, in milliseconds since 1970; none in this process yet.
    pub collected_at_ms: Option<u64>,
    /// Collections that failed.
    pub collect_errors: u64,
    /// Collections that gave way to imports.
    pub collect_gave_way: u64,
    /// Blobs deleted by collections in this process.
    pub collected_blobs: u64,
}

/// What is counted while the store is open.
#[derive(Debug, Default)]
pub(super) struct Tally {
    collected_at_ms: AtomicU64,
    errors: AtomicU64,
    gave_way: AtomicU64,
    blobs: AtomicU64,
}

impl Tally {
    pub(super) fn collected(&self, blobs: usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.collected_at_ms
            .store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
        self.blobs.fetch_add(blobs as u64, Relaxed);
    }

    pub(super) fn failed(&self, error: &CollectError) {
        match error {
            CollectError::Busy { .. } => self.gave_way.fetch_add(1, Relaxed),
            CollectError::Root { .. }
            | CollectError::List { .. }
            | CollectError::Index(_)
            | CollectError::Stopped(_)
            | CollectError::Closed => self.errors.fetch_add(1, Relaxed),
        };
    }
}

impl BlobStore {
    /// How the store stands now. Walks the directory of blobs: ask every few seconds, not every few milliseconds.
    pub async fn stats(&self) -> Stats {
        let shared = self.shared.clone();
        let usage = tokio::task::spawn_blocking(move || shared.usage())
            .await
            .expect("counting does not panic");
        let blobs = self
            .shared
            .api
            .list()
            .hashes()
            .await
            .map_or(0, |hashes| hashes.len() as u64);
        let tally = &self.shared.tally;
        let log = self.shared.log();
        Stats {
            blobs,
            bytes: usage.used,
            reserved_bytes: usage.reserved,
            free_bytes: usage.free,
            pinned: log.index.kept.len() as u64,
            held: self.shared.holds.held().len() as u64,
            referenced: log.index.references.len() as u64,
            collected_at_ms: Some(tally.collected_at_ms.load(Relaxed)).filter(|&at| at > 0),
            collect_errors: tally.errors.load(Relaxed),
            collect_gave_way: tally.gave_way.load(Relaxed),
            collected_blobs: tally.blobs.load(Relaxed),
        }
    }
}
