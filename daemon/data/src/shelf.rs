//! One store, and what opens the shards in it if they are sealed.

use std::sync::Arc;

use protocol::{DatanetId, seal};
use storage::blob::BlobStore;

/// The key that a sealed shard was sealed with, if it is here.
pub(crate) type Keys = Arc<dyn Fn(&seal::Header) -> Option<seal::EpochKey> + Send + Sync>;

/// One store, and what opens the shards in it if they are sealed.
#[derive(Clone)]
pub(crate) struct Shelf {
    /// Where the bytes are.
    pub(crate) blobs: BlobStore,
    /// The datanet that the store is for; none for what everybody may read.
    pub(crate) datanet: Option<DatanetId>,
    /// The keys of that datanet that are here.
    pub(crate) keys: Keys,
}

impl Shelf {
    /// A store that everybody may read.
    pub(crate) fn public(blobs: BlobStore) -> Self {
        Self {
            blobs,
            datanet: None,
            keys: Arc::new(|_| None),
        }
    }
}
