//! What a run learns from: files of records, and datasets of the home by their roots.

use std::path::PathBuf;

use anyhow::Context as _;
use compute::model::{Config, Text};
use indicatif::{ProgressBar, ProgressDrawTarget};
use protocol::BlobHash;
use serde_json::Value;
use train::{Corpus, Owner, Reading, Recipe};

use crate::cli::{
    Place,
    exit::{Exit, ended},
    local::Local,
    place::wait,
};
use data::{RecordPart, RecordsAnswer};
use gateway::api::local::RootAsk;

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file of lines, or a folder of such files, whose name is their contributor's.
    File(PathBuf),
    /// A dataset that is in the home, in the order of its records.
    Dataset(BlobHash),
}

/// A root is 0x and 64 digits; a file that is called so is named with its folder.
pub(super) fn source(text: &str) -> Result<Source, String> {
    let is_root = text.len() == 66 && text.starts_with("0x");
    match is_root.then(|| text.parse()) {
        Some(Ok(root)) => Ok(Source::Dataset(root)),
        Some(Err(_)) => Err(format!("{text} is neither a file nor the root of a dataset")),
        None => Ok(Source::File(PathBuf::from(text))),
    }
}

/// Reads all of it, in the order in which it is named.
pub(super) fn corpus(
    place: &Place,
    sources: &[Source],
    text: &Text,
    config: &Config,
    recipe: &Recipe,
) -> anyhow::Result<Corpus> {
    let mut reading = Reading::new(text, config, recipe);
    let has_datasets = sources.iter().any(|source| matches!(source, Source::Dataset(_)));
    wait(async {
        // Opened once: a store has one owner at a time.
        let local = if has_datasets { Some(place.local().await?) } else { None };
        for source in sources {
            match (source, &local) {
                (Source::File(path), _) if path.is_dir() => reading.folder(path)?,
                (Source::File(path), _) => reading.file(path)?,
                (Source::Dataset(root), Some(local)) => dataset(local, *root, &mut reading).await?,
                (Source::Dataset(_), None) => unreachable!("it was opened for them"),
            }
        }
        anyhow::Ok(())
    })?;
    Ok(reading.finish()?)
}

/// The records of a dataset, from the node that runs in the home or from its store. They are all whose the manifest says:
/// whoever signed for them is who is paid.
async fn dataset(local: &Local, root: BlobHash, reading: &mut Reading<'_>) -> anyhow::Result<()> {
    let ask = RootAsk { root };
    let manifest: Value = local.ask("/v1/data/show", &ask).await?;
    let owner = owner(&manifest).with_context(|| format!("the manifest of {root} names no contributor"))?;
    reading.begin(&format!("{}@{root:#}", manifest["name"].as_str().unwrap_or_default()));
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let take = |part: Value| {
        let part: RecordPart = serde_json::from_value(part).context("a record came that is none")?;
        let many = || ended(Exit::Usage, format!("{root:#} has more records than a run may have"));
        let number = u32::try_from(part.position + 1).map_err(|_| many())?;
        bar.set_message(format!("{number} records of {root:#}"));
        Ok(reading.record(number, part.object.as_bytes(), Owner::Always(&owner))?)
    };
    let read: anyhow::Result<RecordsAnswer> = local.parts("/v1/data/records", &ask, |_| (), take).await;
    bar.finish_and_clear();
    read.map(drop)
}

/// Who answers for a dataset: the accounts that are paid for it, or the nodes that made it.
fn owner(manifest: &Value) -> Option<String> {
    let contributors = manifest["contributors"].as_array()?;
    let name = |who: &Value| {
        who["account"]
            .as_str()
            .or_else(|| who["node"].as_str())
            .map(str::to_owned)
    };
    let names = contributors.iter().map(name).collect::<Option<Vec<_>>>()?;
    (!names.is_empty()).then(|| names.join("+"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_root_is_a_dataset_and_all_else_a_file() {
        let root = format!("0x{}", "ab".repeat(32));
        assert_eq!(source(&root), Ok(Source::Dataset(BlobHash([0xab; 32]))));
        for file in ["facts.jsonl", "0xab", &format!("./{root}")] {
            assert_eq!(source(file), Ok(Source::File(PathBuf::from(file))));
        }
        assert!(source(&format!("0x{}", "zz".repeat(32))).is_err());
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
