//! The records of a dataset that is here, one after another, as objects: for those who learn from them.

use protocol::BlobHash;

use super::{Library, LibraryError, open::open};
use crate::shelf::Shelf;
use base::operator::dataset::{RecordPart, RecordsAnswer};

impl Library {
    /// Hands on the records of a dataset, each checked against its digest, as long as they are taken.
    pub async fn records(
        &self,
        root: BlobHash,
        take: impl FnMut(RecordPart) -> bool + Send + 'static,
    ) -> Result<RecordsAnswer, LibraryError> {
        records(&self.shelf_of(root).await, root, take).await
    }
}

async fn records(
    shelf: &Shelf,
    root: BlobHash,
    mut take: impl FnMut(RecordPart) -> bool + Send + 'static,
) -> Result<RecordsAnswer, LibraryError> {
    let dataset = open(shelf, root).await?;
    let reading = tokio::task::spawn_blocking(move || {
        for record in dataset.records() {
            let record = record.map_err(|source| LibraryError::Read { root, source })?;
            let part = RecordPart {
                position: record.position,
                object: dataset.object(&record)?,
            };
            if !take(part) {
                return Err(LibraryError::CalledOff);
            }
        }
        let manifest = dataset.manifest();
        let contributors = manifest.contributors.iter().map(|who| match who.account {
            Some(account) => account.to_string(),
            None => who.node.to_string(),
        });
        Ok(RecordsAnswer {
            name: manifest.name.clone(),
            records: manifest.records,
            contributors: contributors.collect(),
        })
    });
    reading.await.expect("reading does not panic")
}
