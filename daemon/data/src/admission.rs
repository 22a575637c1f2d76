//! Who may fetch what: from the public store, everybody whatever is kept there, and nothing else.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
};

use net::data::{Admission, Ask};
use protocol::{BlobHash, NodeId};
use storage::blob::{BlobStore, Format};

/// What is served from a store.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Sequences, which release their children.
    sequences: BTreeSet<BlobHash>,
    /// Blobs, the roots and children of those sequences among them.
    blobs: BTreeSet<BlobHash>,
}

impl Published {
    /// Everything that is kept in a store. What has no reason is being fetched, or about to go.
    pub(super) async fn of(store: &BlobStore) -> Self {
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

/// Whether everybody may have this blob.
pub(super) fn serves(published: &RwLock<Published>, hash: BlobHash) -> bool {
    published
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .blobs
        .contains(&hash)
}

/// Admits everybody to what is published.
pub(super) struct Everybody(pub(super) Arc<RwLock<Published>>);

impl Admission for Everybody {
    fn may_connect(&self, _node: NodeId) -> bool {
        true
    }

    fn may_fetch(&self, _node: NodeId, ask: Ask) -> bool {
        let published = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match ask {
            Ask::Blob(hash) => published.blobs.contains(&hash),
            Ask::Sequence(root) => published.sequences.contains(&root),
        }
    }
}
