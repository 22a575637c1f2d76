//! A blob store together with the keys that open the sealed shards in it.

use std::sync::Arc;

use protocol::{DatanetId, seal};
use storage::blob::BlobStore;

/// Looks up the key of a sealed shard by its header; `None` if this node does not hold it.
pub(crate) type Keys = Arc<dyn Fn(&seal::Header) -> Option<seal::EpochKey> + Send + Sync>;

/// A blob store and the keys of its datanet. Clones share both.
#[derive(Clone)]
pub(crate) struct ShardStore {
    pub(crate) blobs: BlobStore,
    /// The permissioned datanet that the store belongs to; `None` for the public store.
    pub(crate) datanet: Option<DatanetId>,
    pub(crate) keys: Keys,
}

impl ShardStore {
    /// Wraps the public store, whose shards are not sealed.
    pub(crate) fn public(blobs: BlobStore) -> Self {
        Self {
            blobs,
            datanet: None,
            keys: Arc::new(|_| None),
        }
    }
}
