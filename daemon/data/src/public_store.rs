//! The public blob store. Every node may fetch the blobs that are kept in it, and nothing else.

use std::{
    collections::BTreeSet,
    sync::{Arc, RwLock},
};

use net::data::{Admission, BlobRequest, Share};
use protocol::{BlobHash, NodeId};
use storage::blob::{BlobStore, Format};

use crate::shard_store::ShardStore;
use base::lock;

/// The content that is served.
#[derive(Debug, Default)]
struct Published {
    /// Roots of hash sequences; serving one includes its children.
    sequences: BTreeSet<BlobHash>,
    /// All blobs, with the roots and children of the sequences.
    blobs: BTreeSet<BlobHash>,
}

impl Published {
    /// Collects everything that has a pin. A blob without one is still being fetched, or will be collected.
    async fn of(store: &BlobStore) -> Self {
        let mut published = Self::default();
        for (hash, kept) in store.kept() {
            // A file added by reference that has changed no longer matches its hash.
            if let Err(changed) = store.unchanged(hash).await {
                tracing::warn!(error = %changed, "stopped serving a changed file");
                continue;
            }
            published.blobs.insert(hash);
            if kept.format == Format::Sequence
                && let Ok(children) = store.children(hash).await
            {
                published.sequences.insert(hash);
                published.blobs.extend(children);
            }
        }
        published
    }
}

/// The public store, and the list of what it serves. Clones share both.
#[derive(Clone)]
pub(crate) struct PublicStore {
    pub(crate) blobs: BlobStore,
    published: Arc<RwLock<Published>>,
}

impl PublicStore {
    /// Wraps a store. It serves nothing until [`PublicStore::refresh`] is called.
    pub(crate) fn new(blobs: BlobStore) -> Self {
        Self {
            blobs,
            published: Arc::default(),
        }
    }

    /// Returns the store without its list.
    pub(crate) fn shard_store(&self) -> ShardStore {
        ShardStore::public(self.blobs.clone())
    }

    /// Updates the list of served blobs from the pins of the store.
    pub(crate) async fn refresh(&self) {
        let now = Published::of(&self.blobs).await;
        *lock::write(&self.published) = now;
    }

    /// Returns true if the blob is served.
    pub(crate) fn serves(&self, hash: BlobHash) -> bool {
        lock::read(&self.published).blobs.contains(&hash)
    }

    /// Returns the share to hand to the data plane.
    pub(crate) fn share(&self) -> Share {
        Share {
            store: self.blobs.api().clone(),
            admission: Arc::new(Everybody(self.published.clone())),
        }
    }
}

/// The admission rule of the public store: every node, but only published blobs.
struct Everybody(Arc<RwLock<Published>>);

impl Admission for Everybody {
    fn may_connect(&self, _node: NodeId) -> bool {
        true
    }

    fn may_fetch(&self, _node: NodeId, ask: BlobRequest) -> bool {
        let published = lock::read(&self.0);
        match ask {
            BlobRequest::Blob(hash) => published.blobs.contains(&hash),
            BlobRequest::Sequence(root) => published.sequences.contains(&root),
        }
    }
}
