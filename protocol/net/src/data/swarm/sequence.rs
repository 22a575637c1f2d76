//! The public handle of a fetch, and the order of its blobs: the root, then its children, a few at once.

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt as _, stream};
use iroh_blobs::{Hash, api::Store};
use protocol::{BlobHash, NodeId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Content, FetchError, FetchEvent, Fetched, Wanted,
    fetch::{self, BlobResult, Shared},
};
use crate::data::endpoint::Plane;

/// Most children that are fetched at once.
const CHILDREN: usize = 4;
/// Most unread events.
const EVENTS: usize = 1024;

/// A running fetch. Dropping it stops it; verified bytes stay in the store.
#[derive(Debug)]
pub struct Fetch {
    events: mpsc::Receiver<FetchEvent>,
    providers: watch::Sender<Vec<NodeId>>,
    result: oneshot::Receiver<Result<Fetched, FetchError>>,
    _stop: DropGuard,
}

impl Fetch {
    pub(crate) fn start(plane: Arc<Plane>, store: Store, wanted: Wanted) -> Self {
        let (events, receiver) = mpsc::channel(EVENTS);
        let (sender, providers) = watch::channel(wanted.providers.clone());
        let (done, result) = oneshot::channel();
        let stop = CancellationToken::new();
        let shared = Shared {
            plane: plane.clone(),
            store,
            wanted: Arc::new(wanted),
            providers,
            events,
        };
        let stopped = stop.clone();
        plane.tasks.spawn(async move {
            let stop = shared.plane.stop.clone();
            tokio::select! {
                () = stopped.cancelled() => (),
                // The receiver may be gone.
                result = run(shared) => drop(done.send(result)),
                () = stop.cancelled() => drop(done.send(Err(FetchError::Down))),
            }
        });
        Self {
            events: receiver,
            providers: sender,
            result,
            _stop: stop.drop_guard(),
        }
    }

    /// Returns the next event, or `None` when the fetch has ended.
    pub async fn next(&mut self) -> Option<FetchEvent> {
        self.events.recv().await
    }

    /// Adds a provider.
    pub fn offer(&self, node: NodeId) {
        self.providers.send_if_modified(|known| {
            let new = !known.contains(&node);
            if new {
                known.push(node);
            }
            new
        });
    }

    /// Waits for the result.
    pub async fn done(self) -> Result<Fetched, FetchError> {
        self.result.await.unwrap_or(Err(FetchError::Down))
    }
}

async fn run(shared: Shared) -> Result<Fetched, FetchError> {
    let mut fetched = Fetched::default();
    let root = match shared.wanted.content {
        Content::Blob(blob) => {
            fetched.add(Box::pin(fetch::blob(shared, blob)).await?);
            return Ok(fetched);
        }
        Content::Sequence(root) => root,
    };
    fetched.add(Box::pin(fetch::blob(shared.clone(), root)).await?);
    let children = children(&shared.store, root).await?;
    let mut fetches = stream::iter(children)
        .map(|child| Box::pin(fetch::blob(shared.clone(), child)))
        .buffer_unordered(CHILDREN);
    while let Some(got) = fetches.next().await {
        fetched.add(got?);
    }
    Ok(fetched)
}

/// Returns the distinct blobs that a sequence lists.
async fn children(store: &Store, root: BlobHash) -> Result<BTreeSet<BlobHash>, FetchError> {
    let bytes = store
        .get_bytes(Hash::from_bytes(root.0))
        .await
        .map_err(|error| FetchError::Store {
            blob: root,
            why: error.to_string(),
        })?;
    if bytes.len() % 32 != 0 {
        return Err(FetchError::NoSequence {
            root,
            bytes: bytes.len() as u64,
        });
    }
    let hashes = bytes
        .chunks_exact(32)
        .map(|hash| BlobHash(hash.try_into().expect("chunks of 32")));
    // The empty blob needs no fetch.
    Ok(hashes.filter(|hash| hash.0 != *Hash::EMPTY.as_bytes()).collect())
}

impl Fetched {
    fn add(&mut self, got: BlobResult) {
        self.bytes += got.bytes;
        self.had += got.had;
        self.blamed.extend(got.blamed);
        for (node, bytes) in got.providers {
            *self.providers.entry(node).or_default() += bytes;
        }
    }
}
