//! Maintenance of all blob stores: statistics, garbage collection and checks.

use std::time::Duration;

use storage::blob::Repair;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Library, LibraryError};
use base::{
    operator::dataset::{CollectResponse, FsckResponse, StatResponse, StoreLine},
    report::Progress,
};
use protocol::event::Event;

/// Interval between two garbage collections.
const COLLECT_EVERY: Duration = Duration::from_secs(600);

impl Library {
    /// Returns the size of the stores and the free space.
    pub async fn stat(&self) -> StatResponse {
        let mut answer = StatResponse::default();
        for store in self.stores() {
            let stats = store.blobs.stats().await;
            answer.blobs += stats.blobs;
            answer.bytes += stats.bytes;
            answer.pinned += stats.pinned;
            answer.reserved_bytes += stats.reserved_bytes;
            answer.collect_errors += stats.collect_errors;
            // All stores are on one disk.
            if store.datanet.is_none() {
                answer.free_bytes = stats.free_bytes;
                answer.collected_at_ms = stats.collected_at_ms;
            }
            answer.stores.push(StoreLine {
                datanet: store.datanet,
                blobs: stats.blobs,
                bytes: stats.bytes,
                pinned: stats.pinned,
            });
        }
        answer
    }

    /// Starts periodic garbage collection, which runs until the node stops.
    pub(crate) fn start(&self) {
        self.peer
            .spawn_until_stopped(|stop| self.clone().collect_periodically(stop));
    }

    async fn collect_periodically(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(COLLECT_EVERY) => (),
            }
            self.public.refresh().await;
            for store in self.stores() {
                match store.blobs.collect().await {
                    Ok(collected) if collected.deleted.is_empty() => (),
                    Ok(collected) => self.peer.tell(Event::Collected {
                        blobs: collected.deleted.len(),
                    }),
                    Err(error) => warn!(%error, "garbage collection failed"),
                }
            }
        }
    }

    /// Collects garbage now: deletes blobs without a pin.
    pub async fn collect(&self) -> Result<CollectResponse, LibraryError> {
        let mut answer = CollectResponse { deleted: 0, live: 0 };
        for store in self.stores() {
            let collected = store.blobs.collect().await?;
            answer.deleted += collected.deleted.len() as u64;
            answer.live += collected.live as u64;
        }
        Ok(answer)
    }

    /// Hashes every blob of every store. With `drop_damaged`, deletes the damaged ones.
    pub async fn fsck(
        &self,
        drop_damaged: bool,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<FsckResponse, LibraryError> {
        let repair = if drop_damaged { Repair::Damaged } else { Repair::Orphans };
        let (mut answer, mut damaged) = (FsckResponse::default(), 0);
        for store in self.stores() {
            let of_datanet = store
                .datanet
                .map_or_else(String::new, |id| format!(" of datanet {id:#}"));
            let progress = |done: usize, total: usize| {
                tell(Progress {
                    what: format!("blob {done} of {total}{of_datanet}"),
                    ..Progress::default()
                });
            };
            let checked = store.blobs.fsck(repair, progress).await?;
            damaged += checked.damaged.len();
            answer.sound += checked.sound as u64;
            answer.bytes += checked.bytes;
            answer.partial += checked.partial.len() as u64;
            answer.dropped.extend(checked.damaged.into_keys());
            answer.missing.extend(checked.missing);
            answer.orphans += checked.orphans.len() as u64;
        }
        self.public.refresh().await;
        for local in self.datanets.all() {
            local.refresh(self.peer.now()).await;
        }
        let missing = answer.missing.len();
        if damaged + missing > 0 && !drop_damaged {
            return Err(LibraryError::Unsound { damaged, missing });
        }
        Ok(answer)
    }
}
