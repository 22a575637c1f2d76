//! What a run learns from: files of records, and datasets of the home by their roots.

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

/// Records that are read ahead of the one that is being cut into tokens.
const AHEAD: usize = 64;

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of lines, or a folder of such files, whose name is their contributor's.
    File(PathBuf),
    /// A dataset that is in the home, in the order of its records.
    Dataset(BlobHash),
}

impl Source {
    /// A root is 0x and 64 digits; a file that is called so is named with its folder.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_root = text.len() == 66 && text.starts_with("0x");
        match is_root.then(|| text.parse()) {
            Some(Ok(root)) => Ok(Self::Dataset(root)),
            Some(Err(_)) => Err(format!("{text} is neither a file nor the root of a dataset")),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

/// A dataset, before its records are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// What people call it.
    pub name: String,
    /// Who answers for all of its records, and is paid for them.
    pub owner: String,
}

impl Described {
    /// Of a manifest as the operator's API shows it.
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

/// Datasets that can be read: those of this very node, or of one that is asked over its socket.
pub trait Datasets {
    /// What reading fails with.
    type Error: From<JobError>;

    /// What a dataset is, and whose.
    fn describe(&self, root: BlobHash) -> impl Future<Output = Result<Described, Self::Error>>;

    /// Hands over the records of a dataset in order; the first that is not taken ends it.
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
        let (sender, mut parts) = mpsc::channel(AHEAD);
        // The library reads on a thread of its own and stops when nobody takes any more.
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
        let text = format!("{root:#} could not be read: {}", failure.message);
        JobError::refused(failure.kind, text)
    }
}

/// Reads all of it, in the order in which it is named.
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

/// The records of a dataset. They are all whose the manifest says: whoever signed for them is who is paid.
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

/// Who answers for a dataset: the accounts that are paid for it, or the nodes that made it.
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
