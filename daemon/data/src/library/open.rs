//! Opening and pinning a dataset in a store, sealed or not.

use std::sync::Arc;

use protocol::{BlobHash, manifest::Manifest};
use storage::{
    blob::{BlobStore, Content, Reason, Status},
    dataset::{self, Dataset, ShardSource},
};

use super::LibraryError;
use crate::{
    shard_store::ShardStore,
    shards::{Source, Unsealed},
};

/// Opens a dataset for reading. The reader blocks, so use it on a blocking thread only.
pub(crate) async fn open(store: &ShardStore, root: BlobHash) -> Result<Dataset, LibraryError> {
    if !matches!(store.blobs.status(root).await, Status::Complete { .. }) {
        return Err(LibraryError::Absent { root });
    }
    let store = store.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let source = Source::new(store.blobs.clone());
        let read = |source| LibraryError::Read { root, source };
        let (manifest, blobs): (Manifest, Arc<dyn ShardSource>) = match store.datanet {
            None => (dataset::read_root(root, &source).map_err(read)?, Arc::new(source)),
            Some(_) => {
                let unsealed = Unsealed::read(source, root, |header| (store.keys)(header));
                let (manifest, blobs) = unsealed.map_err(|source| LibraryError::Seal { root, source })?;
                (manifest, Arc::new(blobs))
            }
        };
        Dataset::open(manifest, blobs).map_err(read)
    });
    opening.await.expect("reading does not panic")
}

/// Pins a dataset, after checking that it is complete on disk.
pub(crate) async fn keep(blobs: &BlobStore, root: BlobHash, name: &str) -> Result<(), LibraryError> {
    let content = Content::sequence(root);
    blobs.settle(content).await?;
    Ok(blobs.pin(content, Reason::Dataset(name.to_owned())).await?)
}
