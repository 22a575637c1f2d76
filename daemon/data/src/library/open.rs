//! Opening a dataset that lies in a store, sealed or not.

use std::sync::Arc;

use protocol::{BlobHash, manifest::Manifest};
use storage::{
    blob::{BlobStore, Content, Reason, Status},
    dataset::{self, Dataset, ShardSource},
};

use super::LibraryError;
use crate::{
    shards::{Opened, Source},
    shelf::Shelf,
};

/// A dataset that is here, to be read on a thread that may block.
pub(crate) async fn open(shelf: &Shelf, root: BlobHash) -> Result<Dataset, LibraryError> {
    if !matches!(shelf.blobs.status(root).await, Status::Complete { .. }) {
        return Err(LibraryError::Absent { root });
    }
    let shelf = shelf.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let source = Source::new(shelf.blobs.clone());
        let read = |source| LibraryError::Read { root, source };
        let (manifest, blobs): (Manifest, Arc<dyn ShardSource>) = match shelf.datanet {
            None => (dataset::read_root(root, &source).map_err(read)?, Arc::new(source)),
            Some(_) => {
                let opened = Opened::read(source, root, |header| (shelf.keys)(header));
                let (manifest, blobs) = opened.map_err(|source| LibraryError::Seal { root, source })?;
                (manifest, Arc::new(blobs))
            }
        };
        Dataset::open(manifest, blobs).map_err(read)
    });
    opening.await.expect("reading does not panic")
}

/// Keeps a dataset that is all here.
pub(crate) async fn keep(blobs: &BlobStore, root: BlobHash, name: &str) -> Result<(), LibraryError> {
    let content = Content::sequence(root);
    blobs.settle(content).await?;
    Ok(blobs.pin(content, Reason::Dataset(name.to_owned())).await?)
}
