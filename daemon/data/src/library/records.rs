//! Reading the records of a dataset as JSON objects, for training.

use std::fmt::Display;

use protocol::BlobHash;

use super::{Library, LibraryError, open::open};
use crate::shard_store::ShardStore;
use base::operator::dataset::{RecordPart, RecordsResponse};

/// Returns who is paid for each contributor's records: its account, or its node ID if it names none.
pub fn payees<N: Display, A: Display>(contributors: impl IntoIterator<Item = (N, Option<A>)>) -> Vec<String> {
    let payee = |(node, account): (N, Option<A>)| account.map_or_else(|| node.to_string(), |it| it.to_string());
    contributors.into_iter().map(payee).collect()
}

impl Library {
    /// Passes the records of a dataset to `take`, each checked against its digest, until `take` returns false.
    pub async fn records(
        &self,
        root: BlobHash,
        take: impl FnMut(RecordPart) -> bool + Send + 'static,
    ) -> Result<RecordsResponse, LibraryError> {
        records(&self.store_of(root).await, root, take).await
    }
}

async fn records(
    store: &ShardStore,
    root: BlobHash,
    mut take: impl FnMut(RecordPart) -> bool + Send + 'static,
) -> Result<RecordsResponse, LibraryError> {
    let dataset = open(store, root).await?;
    let reading = tokio::task::spawn_blocking(move || {
        for record in dataset.records() {
            let record = record.map_err(|source| LibraryError::Read { root, source })?;
            let part = RecordPart {
                position: record.position,
                object: dataset.object(&record)?,
            };
            if !take(part) {
                return Err(LibraryError::Cancelled);
            }
        }
        let manifest = dataset.manifest();
        let contributors = manifest.contributors.iter();
        Ok(RecordsResponse {
            name: manifest.name.clone(),
            records: manifest.records,
            contributors: payees(contributors.map(|who| (who.node, who.account))),
        })
    });
    reading.await.expect("reading does not panic")
}
