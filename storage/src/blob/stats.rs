//! Counters and sizes of the store, for metrics and the CLI.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{collect::CollectError, store::BlobStore};

/// A snapshot of the store's counters and sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blobs of which any bytes are stored.
    pub blobs: u64,
    /// Bytes on disk, database and outboards included, referenced files excluded.
    pub bytes: u64,
    /// Bytes reserved for running imports and downloads.
    pub reserved_bytes: u64,
    /// Bytes that the file system has free for this user.
    pub free_bytes: u64,
    /// Blobs and roots with a reason.
    pub pinned: u64,
    /// Blobs and roots in use by a running operation.
    pub held: u64,
    /// Blobs whose bytes are in files outside the store.
    pub referenced: u64,
    /// Time of the last successful collection, in milliseconds since 1970; `None` if there was none in this process.
    pub collected_at_ms: Option<u64>,
    /// Failed collections.
    pub collect_errors: u64,
    /// Collections given up because imports did not pause.
    pub collects_given_up: u64,
    /// Blobs deleted by collections in this process.
    pub collected_blobs: u64,
}

/// Counters since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    collected_at_ms: AtomicU64,
    errors: AtomicU64,
    given_up: AtomicU64,
    blobs: AtomicU64,
}

impl Counters {
    pub(super) fn collected(&self, blobs: usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.collected_at_ms
            .store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
        self.blobs.fetch_add(blobs as u64, Relaxed);
    }

    pub(super) fn failed(&self, error: &CollectError) {
        match error {
            CollectError::Busy { .. } => self.given_up.fetch_add(1, Relaxed),
            CollectError::Root { .. }
            | CollectError::List { .. }
            | CollectError::Index(_)
            | CollectError::Stopped(_)
            | CollectError::Closed => self.errors.fetch_add(1, Relaxed),
        };
    }
}

impl BlobStore {
    /// Returns the current numbers. Walks the blob directory: call it every few seconds at most.
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
        let counters = &self.shared.counters;
        let log = self.shared.log();
        Stats {
            blobs,
            bytes: usage.used,
            reserved_bytes: usage.reserved,
            free_bytes: usage.free,
            pinned: log.index.kept.len() as u64,
            held: self.shared.holds.held().len() as u64,
            referenced: log.index.references.len() as u64,
            collected_at_ms: Some(counters.collected_at_ms.load(Relaxed)).filter(|&at| at > 0),
            collect_errors: counters.errors.load(Relaxed),
            collects_given_up: counters.given_up.load(Relaxed),
            collected_blobs: counters.blobs.load(Relaxed),
        }
    }
}
