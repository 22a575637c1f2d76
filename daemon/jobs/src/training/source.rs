//! Sources of training records: files, folders, and datasets of the home.

use std::path::PathBuf;

use base::operator::dataset::RecordPart;
use base::report::{Failure, Kind};
use compute::model::{Config, Text};
use data::{Library, LibraryError};
use protocol::BlobHash;
use serde_json::Value;
use tokio::sync::mpsc;
use train::{Corpus, CorpusReader, Owner, Recipe};

use crate::error::JobError;

/// Records read ahead of the one that is being tokenised.
const READ_AHEAD: usize = 64;

/// A source of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file with one record per line, or a folder of such files whose name is the contributor.
    File(PathBuf),
    /// A dataset of the home, by its root.
    Dataset(BlobHash),
}

impl Source {
    /// Parses a source: 0x and 64 hex digits are a root, anything else a path. Write `./` before a file with such a name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_root = text.len() == 66 && text.starts_with("0x");
        match is_root.then(|| text.parse()) {
            Some(Ok(root)) => Ok(Self::Dataset(root)),
            Some(Err(_)) => Err(format!(
                "{text} is not the root of a dataset; write 0x and 64 hex digits, or ./NAME for a file"
            )),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

/// Name and owner of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// The contributor that all its records count for, and who is paid.
    pub owner: String,
}

impl Described {
    /// Reads name and owner from a manifest in JSON.
    pub fn of(root: BlobHash, manifest: &Value) -> Result<Self, JobError> {
        let nobody = || {
            let text = format!("the manifest of {root} names no contributor");
            JobError::refused(Kind::Failed, text)
        };
        Ok(Self {
            name: manifest["name"].as_str().unwrap_or_default().to_owned(),
            owner: owner(manifest).ok_or_else(nobody)?,
        })
    }
}

/// Access to datasets: in this process, or of a running node over its socket.
pub trait Datasets {
    type Error: From<JobError>;

    /// Returns name and owner of a dataset.
    fn describe(&self, root: BlobHash) -> impl Future<Output = Result<Described, Self::Error>>;

    /// Passes the records of a dataset to `take`, in order. An error of `take` ends the reading.
    fn records(
        &self,
        root: BlobHash,
        take: &mut dyn FnMut(RecordPart) -> Result<(), JobError>,
    ) -> impl Future<Output = Result<(), Self::Error>>;
}

impl Datasets for Library {
    type Error = JobError;

    async fn describe(&self, root: BlobHash) -> Result<Described, JobError> {
        let manifest = self.show(root).await.map_err(unread(root))?;
        let manifest = serde_json::to_value(manifest).expect("a manifest is plain data");
        Described::of(root, &manifest)
    }

    async fn records(
        &self,
        root: BlobHash,
        take: &mut dyn FnMut(RecordPart) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let (sender, mut parts) = mpsc::channel(READ_AHEAD);
        // The library reads on a thread of its own and stops when the receiver is dropped.
        let reading = self.records(root, move |part| sender.blocking_send(part).is_ok());
        let taking = async move {
            while let Some(part) = parts.recv().await {
                take(part)?;
            }
            Ok::<_, JobError>(())
        };
        let (read, taken) = tokio::join!(reading, taking);
        taken?;
        read.map(drop).map_err(unread(root))
    }
}

fn unread(root: BlobHash) -> impl FnOnce(LibraryError) -> JobError {
    move |error| {
        let failure = Failure::from(error);
        let text = format!("could not read {root:#}: {}", failure.message);
        JobError::refused(failure.kind, text)
    }
}

/// Reads all sources, in order.
pub(super) async fn corpus<D: Datasets>(
    sources: &[Source],
    datasets: &D,
    text: &Text,
    config: &Config,
    recipe: &Recipe,
) -> Result<Corpus, D::Error> {
    let mut reading = CorpusReader::new(text, config, recipe);
    for source in sources {
        match source {
            Source::File(path) if path.is_dir() => reading.folder(path).map_err(JobError::from)?,
            Source::File(path) => reading.file(path).map_err(JobError::from)?,
            Source::Dataset(root) => dataset(datasets, *root, &mut reading).await?,
        }
    }
    Ok(reading.finish().map_err(JobError::from)?)
}

/// Reads the records of a dataset. All of them count for the contributors in its manifest, whatever a record says.
async fn dataset<D: Datasets>(datasets: &D, root: BlobHash, reading: &mut CorpusReader<'_>) -> Result<(), D::Error> {
    let Described { name, owner } = datasets.describe(root).await?;
    reading.begin(&format!("{name}@{root:#}"));
    let mut take = |part: RecordPart| {
        let many = |_| JobError::refused(Kind::Usage, format!("{root:#} has more records than a run may have"));
        let number = u32::try_from(part.position + 1).map_err(many)?;
        Ok(reading.record(number, part.object.as_bytes(), Owner::Always(&owner))?)
    };
    datasets.records(root, &mut take).await
}

/// Returns the contributors of a manifest: their accounts, or their node IDs.
fn owner(manifest: &Value) -> Option<String> {
    let contributors = manifest["contributors"].as_array()?;
    let who = contributors
        .iter()
        .map(|who| Some((who["node"].as_str()?, who["account"].as_str())));
    let names = data::payees(who.collect::<Option<Vec<_>>>()?);
    (!names.is_empty()).then(|| names.join("+"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_root_is_a_dataset_and_all_else_a_file() {
        let root = format!("0x{}", "ab".repeat(32));
        assert_eq!(Source::parse(&root), Ok(Source::Dataset(BlobHash([0xab; 32]))));
        for file in ["facts.jsonl", "0xab", &format!("./{root}")] {
            assert_eq!(Source::parse(file), Ok(Source::File(PathBuf::from(file))));
        }
        assert!(Source::parse(&format!("0x{}", "zz".repeat(32))).is_err());
    }

    #[test]
    fn records_are_of_the_account_that_is_paid_or_else_of_the_node() {
        let check = |contributors: Value, expect: Option<&str>| {
            assert_eq!(owner(&json!({ "contributors": contributors })).as_deref(), expect);
        };
        check(json!([{ "node": "0xaa", "account": "0xbb" }]), Some("0xbb"));
        check(json!([{ "node": "0xaa", "account": null }]), Some("0xaa"));
        check(
            json!([{ "node": "0xaa", "account": null }, { "node": "0xcc", "account": "0xbb" }]),
            Some("0xaa+0xbb"),
        );
        check(json!([]), None);
    }
}
