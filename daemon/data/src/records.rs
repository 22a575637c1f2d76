//! The records of a dataset that is here, one after another, as objects: for those who learn from them.

use protocol::BlobHash;
use serde::{Deserialize, Serialize};

use super::{
    Data, DataError,
    library::{self, LibraryError, Shelf},
};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPart {
    /// Its position in the dataset, from 0.
    pub position: u64,
    /// The text of a JSON object.
    pub object: String,
}

/// The dataset that they are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsAnswer {
    /// What people call it.
    pub name: String,
    /// How many records there were.
    pub records: u64,
    /// Whose they are: accounts where it names them, nodes otherwise.
    pub contributors: Vec<String>,
}

impl Data {
    /// Hands on the records of a dataset, each checked against its digest, as long as they are taken.
    pub async fn records(
        &self,
        root: BlobHash,
        take: impl FnMut(RecordPart) -> bool + Send + 'static,
    ) -> Result<RecordsAnswer, DataError> {
        Ok(records(&self.shelf_of(root).await, root, take).await?)
    }
}

async fn records(
    shelf: &Shelf,
    root: BlobHash,
    mut take: impl FnMut(RecordPart) -> bool + Send + 'static,
) -> Result<RecordsAnswer, LibraryError> {
    let dataset = library::open(shelf, root).await?;
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
