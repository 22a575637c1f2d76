//! `openledger data`: datasets, shared by their hash.
//!
//! Works without a running node where no peer is needed. `--json` prints one object: `add` its [`AddResponse`], `get` its
//! [`Got`], `ls` a list of [`Listed`], `show` the manifest, `verify` its [`VerifyResponse`], `diff` the positions of records,
//! `rm` `{"root", "removed", "still_kept_for"}`, `providers` `{"root", "providers"}`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use protocol::{Account, BlobHash, DatanetId, NodeId};
use serde::Serialize;
use serde_json::Value;

use super::{Place, exit::Exit, output, place::wait};
use base::operator::dataset::{AddResponse, AddRequest, DiffRequest, GetRequest, Got, KnownResponse, Listed, RootRequest, VerifyResponse};

/// Add, fetch and look after datasets
#[derive(Debug, Args)]
pub(crate) struct Data {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Add),
    Get(Get),
    /// Print the datasets that are here, or those that peers announce
    #[command(after_help = "Example: openledger data ls --peers")]
    Ls {
        /// What peers announce
        #[arg(long)]
        peers: bool,
    },
    /// Print what a dataset says of itself
    #[command(
        after_help = "Example: openledger data show 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Show {
        /// Its root
        root: BlobHash,
    },
    /// Check every byte of a dataset that is here
    #[command(
        after_help = "Example: openledger data verify 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Verify {
        /// Its root
        root: BlobHash,
    },
    Diff(Versions),
    /// Let a dataset go; its bytes are deleted when nothing else needs them
    #[command(
        after_help = "Example: openledger data rm 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Rm {
        /// Its root
        root: BlobHash,
    },
    /// Print the nodes that are known to have a dataset
    #[command(
        after_help = "Example: openledger data providers 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Providers {
        /// Its root
        root: BlobHash,
    },
}

/// Make a dataset of files: JSONL, CSV, Parquet, text, Markdown, images, sounds
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger data add corpus.jsonl --licence CC-BY-4.0")]
struct Add {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What people call it; the name of the first path if not given
    #[arg(long)]
    name: Option<String>,
    /// Its terms: an SPDX expression, or custom:NAME:0xHASH:train+commercial+redistribute
    #[arg(long, alias = "license", value_name = "TERMS")]
    licence: String,
    /// The datanet it is for
    #[arg(long, value_name = "ID")]
    datanet: Option<DatanetId>,
    /// The account that is paid for it
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Account>,
    /// The root of the version that this one follows
    #[arg(long, value_name = "ROOT")]
    previous: Option<BlobHash>,
    /// Refer to files instead of copying them; they must then stay as they are
    #[arg(long)]
    by_reference: bool,
    /// Leave out empty files and files that no reader is for, instead of refusing them
    #[arg(long)]
    skip_unusable: bool,
    /// What a record of plain text or Markdown is
    #[arg(long, default_value = "document", value_parser = ["document", "paragraph", "line"])]
    text: String,
    /// How large a shard gets
    #[arg(long, value_name = "SIZE")]
    shard_size: Option<config::Size>,
    /// How large a record may be
    #[arg(long, value_name = "SIZE")]
    max_record: Option<config::Size>,
}

/// Fetch a dataset from peers, from all of them at once
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger data get 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --out corpus"
)]
struct Get {
    /// Its root
    root: BlobHash,
    /// Write its files to this folder, which must be empty or not there yet
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The permissioned datanet whose members have it
    #[arg(long, value_name = "ID")]
    datanet: Option<DatanetId>,
    /// Ask this node too; may be repeated
    #[arg(long, value_name = "NODE")]
    from: Vec<NodeId>,
    /// Do not keep it: its bytes go when the store is next cleared
    #[arg(long)]
    no_keep: bool,
}

/// Print which records two versions have in common
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger data diff 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 \
                  0x7f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
)]
struct Versions {
    /// The root of the old one
    old: BlobHash,
    /// The root of the new one
    new: BlobHash,
}

impl Data {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Add(add) => add.run(place)?,
            Verb::Get(get) => get.run(place)?,
            Verb::Ls { peers: false } => list(place)?,
            Verb::Ls { peers: true } => known(place)?,
            Verb::Show { root } => show(place, root)?,
            Verb::Verify { root } => verify(place, root)?,
            Verb::Diff(versions) => versions.run(place)?,
            Verb::Rm { root } => remove(place, root)?,
            Verb::Providers { root } => providers(place, root)?,
        }
        Ok(Exit::Done)
    }
}

impl Add {
    fn run(self, place: &Place) -> anyhow::Result<()> {
        // The node may have another working directory.
        let absolute = |path: &PathBuf| {
            std::fs::canonicalize(path).with_context(|| format!("could not find {}; check the path", path.display()))
        };
        let paths = self.paths.iter().map(absolute).collect::<anyhow::Result<Vec<_>>>()?;
        let first = paths.first().and_then(|path| path.file_stem());
        let name = self.name.or(first.map(|stem| stem.to_string_lossy().into_owned()));
        let ask = AddRequest {
            paths,
            name: name.context("give it a name with --name")?,
            licence: self.licence,
            datanet: self.datanet,
            account: self.account,
            previous: self.previous,
            by_reference: self.by_reference,
            skip_unusable: self.skip_unusable,
            text: self.text,
            shard_bytes: self.shard_size.map(|size| size.0),
            record_bytes_max: self.max_record.map(|size| size.0),
        };
        let added: AddResponse = ask_of(place, "/v1/data/add", &ask)?;
        place.show(&added, || output::columns(&told(&added)));
        Ok(())
    }
}

/// What was added, and what of it is not new.
fn told(added: &AddResponse) -> Vec<(&'static str, String)> {
    let with = &added.compared_with;
    let mut rows = vec![
        ("Root", added.root.to_string()),
        ("Name", added.name.clone()),
        ("Records", added.records.to_string()),
        ("Bytes", added.bytes.to_string()),
        ("Files", added.sources.to_string()),
        ("Blobs", added.shards.to_string()),
        (
            "Duplicates",
            format!(
                "{} of {} compared with each other and with {} records of {} datasets that are here",
                added.duplicates, added.compared, with.records, with.datasets
            ),
        ),
    ];
    rows.extend(added.repeats.iter().map(|of| {
        let text = format!(
            "{} records of {}  {}, {} of them exactly",
            of.records, of.root, of.name, of.same
        );
        ("Repeats", text)
    }));
    if with.records_in_part > 0 {
        let text = format!(
            "{} earlier records exactly or not at all: there is no room for more",
            with.records_in_part
        );
        rows.push(("Compared", text));
    }
    let missed = |root: &BlobHash| {
        (
            "Not compared",
            format!("{root} is not here; `openledger data get` fetches it"),
        )
    };
    rows.extend(with.not_compared.iter().map(missed));
    let left = |(file, why): &(String, String)| ("Left out", format!("{file}: {why}"));
    rows.extend(added.skipped.iter().map(left));
    rows
}

impl Get {
    fn run(self, place: &Place) -> anyhow::Result<()> {
        let out = match &self.out {
            Some(out) => Some(std::path::absolute(out)?),
            None => None,
        };
        let ask = GetRequest {
            root: self.root,
            datanet: self.datanet,
            out,
            from: self.from,
            keep: !self.no_keep,
        };
        let got: Got = ask_of(place, "/v1/data/get", &ask)?;
        place.show(&got, || {
            let mut rows = vec![
                ("Root", got.root.to_string()),
                ("Name", got.name.clone()),
                ("Bytes", format!("{} of which {} were here", got.bytes, got.had)),
            ];
            rows.extend(
                got.providers
                    .iter()
                    .map(|(node, bytes)| ("From", format!("{node:#}  {bytes} bytes"))),
            );
            rows.extend(
                got.blamed
                    .iter()
                    .map(|node| ("Banned", format!("{node:#} sent what is not so"))),
            );
            rows.extend(self.out.iter().map(|out| ("Written to", out.display().to_string())));
            output::columns(&rows)
        });
        Ok(())
    }
}

/// Asks the running node, or does it here if none runs.
pub(super) fn ask_of<T: serde::de::DeserializeOwned>(
    place: &Place,
    path: &str,
    question: &impl Serialize,
) -> anyhow::Result<T> {
    wait(async { place.local().await?.ask(path, question).await })
}

fn list(place: &Place) -> anyhow::Result<()> {
    let listed: Vec<Listed> = ask_of(place, "/v1/data/ls", &Value::Null)?;
    place.show(&listed, || {
        let line = |item: &Listed| {
            let state = if item.complete { "complete" } else { "in part" };
            format!(
                "{}  {}  {} records  {} bytes  {}  {state}",
                item.root, item.name, item.records, item.bytes, item.licence
            )
        };
        match listed.is_empty() {
            true => "no datasets here; `openledger data add PATH --licence TERMS` makes one".to_owned(),
            false => listed.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(())
}

fn known(place: &Place) -> anyhow::Result<()> {
    let known: Vec<KnownResponse> = ask_of(place, "/v1/data/known", &Value::Null)?;
    place.show(&known, || {
        let line = |item: &KnownResponse| {
            let nodes = item
                .providers
                .iter()
                .map(|node| format!("{node:#}"))
                .collect::<Vec<_>>();
            format!("{}  {} bytes  at {}", item.root, item.bytes, nodes.join(", "))
        };
        match known.is_empty() {
            true => "no peer has announced any; `openledger peers list` shows who is connected".to_owned(),
            false => known.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(())
}

fn show(place: &Place, root: BlobHash) -> anyhow::Result<()> {
    let manifest: Value = ask_of(place, "/v1/data/show", &RootRequest { root })?;
    place.show(&manifest, || {
        serde_json::to_string_pretty(&manifest).expect("a value can be written")
    });
    Ok(())
}

fn verify(place: &Place, root: BlobHash) -> anyhow::Result<()> {
    let verified: VerifyResponse = ask_of(place, "/v1/data/verify", &RootRequest { root })?;
    place.show(&verified, || {
        format!(
            "{} is whole: {} blobs, {} files, {} records, {} bytes",
            verified.root, verified.shards, verified.sources, verified.records, verified.bytes
        )
    });
    Ok(())
}

impl Versions {
    fn run(self, place: &Place) -> anyhow::Result<()> {
        let (old, new) = (self.old, self.new);
        let value: Value = ask_of(place, "/v1/data/diff", &DiffRequest { old, new })?;
        let count = |key: &str| value[key].as_array().map_or(0, Vec::len);
        place.show(&value, || {
            format!(
                "{} kept, {} added, {} removed, {} changed",
                value["kept"],
                count("added"),
                count("removed"),
                count("changed")
            )
        });
        Ok(())
    }
}

fn remove(place: &Place, root: BlobHash) -> anyhow::Result<()> {
    let value: Value = ask_of(place, "/v1/data/rm", &RootRequest { root })?;
    place.show(&value, || {
        let left: Vec<_> = value["still_kept_for"].as_array().into_iter().flatten().collect();
        match left.is_empty() {
            true => format!("{root} is let go"),
            false => {
                let left: Vec<_> = left.iter().filter_map(|why| why.as_str()).collect();
                format!("{root} is let go as a dataset, and still kept for: {}", left.join(", "))
            }
        }
    });
    Ok(())
}

fn providers(place: &Place, root: BlobHash) -> anyhow::Result<()> {
    let value: Value = ask_of(place, "/v1/data/providers", &RootRequest { root })?;
    place.show(&value, || {
        let nodes: Vec<_> = value["providers"].as_array().into_iter().flatten().collect();
        match nodes.is_empty() {
            true => "nobody is known to have it".to_owned(),
            false => nodes
                .iter()
                .filter_map(|node| node.as_str())
                .collect::<Vec<_>>()
                .join("\n"),
        }
    });
    Ok(())
}
