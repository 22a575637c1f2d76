//! Deletion, through the only door iroh-blobs has for it.
//!
//! The crate deletes in a task of its own that wakes up, asks a callback what to protect, and deletes the rest. Our
//! callback waits until somebody wants a sweep and then names everything that stays, so a sweep happens when we say
//! and deletes what we say. That the callback is asked again means that the sweep before it was finished; that it is
//! gone means that the task died of an error.

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

/// The task sleeps this long between sweeps; a sweep that is asked for waits no longer than this.
const BETWEEN: Duration = Duration::from_millis(1);

/// The deleting task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the blob store stopped deleting after an error of its database; restart the node")]
pub struct SweepStopped;

struct Order {
    stays: HashSet<Hash>,
    done: oneshot::Sender<()>,
}

/// Our end of the door.
#[derive(Debug)]
pub(super) struct Sweeper {
    orders: mpsc::Sender<Order>,
    closed: Arc<AtomicBool>,
}

struct Inbox {
    orders: mpsc::Receiver<Order>,
    /// Answered when the task comes back for the next order.
    running: Option<oneshot::Sender<()>>,
    closed: Arc<AtomicBool>,
}

/// The two ends: what the store is configured with, and what gives orders.
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
                    // The other side may have stopped waiting.
                    let _ = done.send(());
                }
                match inbox.orders.recv().await {
                    Some(order) => {
                        live.extend(order.stays);
                        inbox.running = Some(order.done);
                    }
                    // The database is closed: the run fails at once, which is how the task comes to an end.
                    None if inbox.closed.load(Ordering::SeqCst) => (),
                    // We were dropped while the store is open. Nobody knows what stays, so nothing goes.
                    None => std::future::pending().await,
                }
                ProtectOutcome::Continue
            })
        })),
    };
    (config, Sweeper { orders, closed })
}

impl Sweeper {
    /// Ends the task. Only after the store's database was shut down.
    pub(super) fn close(self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Deletes everything but `stays` and what the store's own tags name.
    pub(super) async fn sweep(&self, stays: HashSet<Hash>) -> Result<(), SweepStopped> {
        let (done, finished) = oneshot::channel();
        self.orders
            .send(Order { stays, done })
            .await
            .map_err(|_| SweepStopped)?;
        finished.await.map_err(|_| SweepStopped)
    }
}
