//! The records of a dataset that is here, one after another, as objects: for those who learn from them.

use std::fmt::Display;

use protocol::BlobHash;

use super::{Library, LibraryError, open::open};
use crate::shelf::Shelf;
use base::operator::dataset::{RecordPart, RecordsResponse};

/// Who is paid for what contributors made: the account that each names, or else its node.
pub fn payees<N: Display, A: Display>(contributors: impl IntoIterator<Item = (N, Option<A>)>) -> Vec<String> {
    let payee = |(node, account): (N, Option<A>)| account.map_or_else(|| node.to_string(), |it| it.to_string());
    contributors.into_iter().map(payee).collect()
}

impl Library {
    /// Hands on the records of a dataset, each checked against its digest, as long as they are taken.
    pub async fn records(
        &self,
        root: BlobHash,
        take: impl FnMut(RecordPart) -> bool + Send + 'static,
    ) -> Result<RecordsResponse, LibraryError> {
        records(&self.shelf_of(root).await, root, take).await
    }
}

async fn records(
    shelf: &Shelf,
    root: BlobHash,
    mut take: impl FnMut(RecordPart) -> bool + Send + 'static,
) -> Result<RecordsResponse, LibraryError> {
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
        let contributors = manifest.contributors.iter();
        Ok(RecordsResponse {
            name: manifest.name.clone(),
            records: manifest.records,
            contributors: payees(contributors.map(|who| (who.node, who.account))),
        })
    });
    reading.await.expect("reading does not panic")
}
