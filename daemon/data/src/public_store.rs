//! The store that everybody may read: from it everybody fetches whatever is kept there, and nothing else.

use std::{
    collections::BTreeSet,
    sync::{Arc, RwLock},
};

use net::data::{Admission, BlobRequest, Share};
use protocol::{BlobHash, NodeId};
use storage::blob::{BlobStore, Format};

use crate::shelf::Shelf;
use base::lock;

/// What is served from a store.
#[derive(Debug, Default)]
struct Published {
    /// Sequences, which release their children.
    sequences: BTreeSet<BlobHash>,
    /// Blobs, the roots and children of those sequences among them.
    blobs: BTreeSet<BlobHash>,
}

impl Published {
    /// Everything that is kept in a store. What has no reason is being fetched, or about to go.
    async fn of(store: &BlobStore) -> Self {
        let mut published = Self::default();
        for (hash, kept) in store.kept() {
            // A file that somebody changed is not what its name says any more.
            if let Err(changed) = store.unchanged(hash).await {
                tracing::warn!(error = %changed, "not served any more");
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

/// The store that everybody may read. Clones are the same.
#[derive(Clone)]
pub(crate) struct PublicStore {
    /// Where the bytes are.
    pub(crate) blobs: BlobStore,
    published: Arc<RwLock<Published>>,
}

impl PublicStore {
    /// Serves nothing before [`PublicStore::refresh`].
    pub(crate) fn new(blobs: BlobStore) -> Self {
        Self {
            blobs,
            published: Arc::default(),
        }
    }

    /// The store as one of many.
    pub(crate) fn shelf(&self) -> Shelf {
        Shelf::public(self.blobs.clone())
    }

    /// Brings what is served up to what is kept.
    pub(crate) async fn refresh(&self) {
        let now = Published::of(&self.blobs).await;
        *lock::write(&self.published) = now;
    }

    /// Whether everybody may have this blob.
    pub(crate) fn serves(&self, hash: BlobHash) -> bool {
        lock::read(&self.published).blobs.contains(&hash)
    }

    /// What it is served as.
    pub(crate) fn share(&self) -> Share {
        Share {
            store: self.blobs.api().clone(),
            admission: Arc::new(Everybody(self.published.clone())),
        }
    }
}

/// Admits everybody to what is published.
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
