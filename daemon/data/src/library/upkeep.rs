//! Looking after the stores, the public one and those of permissioned datanets: figures, clearing, checks.

use std::time::Duration;

use storage::blob::Repair;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Library, LibraryError};
use base::{
    operator::dataset::{CollectAnswer, FsckAnswer, StatAnswer, StoreLine},
    report::Progress,
};
use protocol::event::Event;

/// How often the stores are cleared.
const COLLECT_EVERY: Duration = Duration::from_secs(600);

impl Library {
    /// How the stores stand.
    pub async fn stat(&self) -> StatAnswer {
        let mut answer = StatAnswer::default();
        for shelf in self.shelves() {
            let stats = shelf.blobs.stats().await;
            answer.blobs += stats.blobs;
            answer.bytes += stats.bytes;
            answer.pinned += stats.pinned;
            answer.reserved_bytes += stats.reserved_bytes;
            answer.collect_errors += stats.collect_errors;
            // They share a disk.
            if shelf.datanet.is_none() {
                answer.free_bytes = stats.free_bytes;
                answer.collected_at_ms = stats.collected_at_ms;
            }
            answer.stores.push(StoreLine {
                datanet: shelf.datanet,
                blobs: stats.blobs,
                bytes: stats.bytes,
                pinned: stats.pinned,
            });
        }
        answer
    }

    /// Clears the stores now and then, until the node ends.
    pub(crate) fn start(&self) {
        self.peer.keep(|stop| self.clone().collect_now_and_then(stop));
    }

    async fn collect_now_and_then(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(COLLECT_EVERY) => (),
            }
            self.public.refresh().await;
            for shelf in self.shelves() {
                match shelf.blobs.collect().await {
                    Ok(collected) if collected.deleted.is_empty() => (),
                    Ok(collected) => self.peer.tell(Event::Collected {
                        blobs: collected.deleted.len(),
                    }),
                    Err(error) => warn!(%error, "the store could not be cleared"),
                }
            }
        }
    }

    /// Deletes what nobody keeps.
    pub async fn collect(&self) -> Result<CollectAnswer, LibraryError> {
        let mut answer = CollectAnswer { deleted: 0, live: 0 };
        for shelf in self.shelves() {
            let collected = shelf.blobs.collect().await?;
            answer.deleted += collected.deleted.len() as u64;
            answer.live += collected.live as u64;
        }
        Ok(answer)
    }

    /// Checks every blob of every store.
    pub async fn fsck(
        &self,
        drop_damaged: bool,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<FsckAnswer, LibraryError> {
        let repair = if drop_damaged { Repair::Damaged } else { Repair::Orphans };
        let (mut answer, mut damaged) = (FsckAnswer::default(), 0);
        for shelf in self.shelves() {
            let place = shelf
                .datanet
                .map_or_else(String::new, |id| format!(" of datanet {id:#}"));
            let progress = |done: usize, total: usize| {
                tell(Progress {
                    what: format!("blob {done} of {total}{place}"),
                    ..Progress::default()
                });
            };
            let checked = shelf.blobs.fsck(repair, progress).await?;
            damaged += checked.damaged.len();
            answer.sound += checked.sound as u64;
            answer.bytes += checked.bytes;
            answer.partial += checked.partial.len() as u64;
            answer.dropped.extend(checked.damaged.into_keys());
            answer.missing.extend(checked.missing);
            answer.orphans += checked.orphans.len() as u64;
        }
        self.public.refresh().await;
        for room in self.datanets.all() {
            room.refresh(self.peer.now()).await;
        }
        let missing = answer.missing.len();
        if damaged + missing > 0 && !drop_damaged {
            return Err(LibraryError::Unsound { damaged, missing });
        }
        Ok(answer)
    }
}
