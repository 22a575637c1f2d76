//! Deletion through the only interface that iroh-blobs has for it.
//!
//! iroh-blobs deletes in a task of its own: it wakes up, asks a callback what to protect, and deletes the rest. Our callback
//! blocks until a sweep is requested and then protects everything that keep, so sweeps happen exactly on request. The next
//! call of the callback means that the previous sweep is done; a dropped callback means that the task failed.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use iroh_blobs::{
    Hash,
    store::{GcConfig, ProtectOutcome},
};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Sleep of the task between sweeps; also the longest delay of a requested one.
const BETWEEN: Duration = Duration::from_millis(1);

/// Error: iroh-blobs' deletion task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the blob store stopped deleting after an error of its database; restart the node")]
pub struct SweepStopped;

struct SweepRequest {
    keep: HashSet<Hash>,
    done: oneshot::Sender<()>,
}

/// Requests sweeps from the callback.
#[derive(Debug)]
pub(super) struct Sweeper {
    orders: mpsc::Sender<SweepRequest>,
    closed: Arc<AtomicBool>,
}

struct Inbox {
    orders: mpsc::Receiver<SweepRequest>,
    /// Notified when the task comes back for the next request.
    running: Option<oneshot::Sender<()>>,
    closed: Arc<AtomicBool>,
}

/// Returns the configuration for iroh-blobs, and the sweeper that controls it.
pub(super) fn pair() -> (GcConfig, Sweeper) {
    let (orders, inbox) = mpsc::channel(1);
    let closed = Arc::new(AtomicBool::new(false));
    let inbox = Arc::new(Mutex::new(Inbox {
        orders: inbox,
        running: None,
        closed: closed.clone(),
    }));
    let config = GcConfig {
        interval: BETWEEN,
        add_protected: Some(Arc::new(move |live| {
            let inbox = inbox.clone();
            Box::pin(async move {
                let mut inbox = inbox.lock().await;
                if let Some(done) = inbox.running.take() {
                    // The requester may have stopped waiting.
                    let _ = done.send(());
                }
                match inbox.orders.recv().await {
                    Some(order) => {
                        live.extend(order.keep);
                        inbox.running = Some(order.done);
                    }
                    // The database is closed: the sweep fails at once, and with it the task ends.
                    None if inbox.closed.load(Ordering::SeqCst) => (),
                    // The sweeper was dropped while the store is open. Nobody knows what keep, so delete nothing.
                    None => std::future::pending().await,
                }
                ProtectOutcome::Continue
            })
        })),
    };
    (config, Sweeper { orders, closed })
}

impl Sweeper {
    /// Ends the task. Call it only after the database was shut down.
    pub(super) fn close(self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Deletes everything except `keep` and what the store's own tags name.
    pub(super) async fn sweep(&self, keep: HashSet<Hash>) -> Result<(), SweepStopped> {
        let (done, finished) = oneshot::channel();
        self.orders
            .send(SweepRequest { keep, done })
            .await
            .map_err(|_| SweepStopped)?;
        finished.await.map_err(|_| SweepStopped)
    }
}
