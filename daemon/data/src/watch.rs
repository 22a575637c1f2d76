//! What goes on by itself: clearing the store, announcing again before announcements run out, hearing others.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Data, sharing::LIFE_MS, work};

/// How often the store is cleared.
const COLLECT_EVERY: Duration = Duration::from_secs(600);
/// How long after a new peer its arrival is told of what is here: others may come with it.
const SETTLE: Duration = Duration::from_secs(2);

/// Clears the store now and then.
pub(super) async fn collect(data: Data, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(COLLECT_EVERY) => (),
        }
        data.refresh().await;
        for shelf in data.shelves() {
            match shelf.blobs.collect().await {
                Ok(collected) if collected.deleted.is_empty() => (),
                Ok(collected) => info!(blobs = collected.deleted.len(), "blobs that nobody keeps were deleted"),
                Err(error) => warn!(%error, "the store could not be cleared"),
            }
        }
    }
}

/// Announces everything again before it runs out, and as soon as there is somebody new to tell.
pub(super) async fn announce(data: Data, stop: CancellationToken) {
    let Some(network) = &data.0.network else { return };
    let mut known = 0;
    let again = Duration::from_millis(LIFE_MS / 3);
    let work_again = Duration::from_millis(work::LIFE_MS / 3);
    let mut told = tokio::time::Instant::now();
    let mut work_told = told;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SETTLE) => (),
        }
        let peers = network.net.peers().len();
        if peers > known || work_told.elapsed() >= work_again {
            data.announce_work().await;
            work_told = tokio::time::Instant::now();
        }
        if peers > known || told.elapsed() >= again {
            data.announce_all().await;
            told = tokio::time::Instant::now();
        }
        known = peers;
    }
}

/// Remembers what others announce.
pub(super) async fn hear(data: Data, stop: CancellationToken) {
    let Some(network) = &data.0.network else { return };
    let mut announcements = network.net.announcements();
    loop {
        let said = tokio::select! {
            () = stop.cancelled() => return,
            said = announcements.recv() => said,
        };
        match said {
            Ok(said) => data.heard().note(data.0.clock.now(), said),
            // Those that were missed come again.
            Err(RecvError::Lagged(_)) => (),
            Err(RecvError::Closed) => return,
        }
    }
}
