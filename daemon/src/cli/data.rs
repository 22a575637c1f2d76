//! `openledger data`: adds, fetches, checks and removes datasets, which are named by the root hash of their manifest.
//!
//! Verbs that need no peer work without a running node.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use protocol::{Account, BlobHash, DatanetId, NodeId};
use serde::Serialize;
use serde_json::Value;

use super::{Globals, exit::Exit, globals::wait, output};
use base::operator::dataset::{
    AddRequest, AddResponse, DiffRequest, GetRequest, Got, KnownResponse, Listed, RootRequest, VerifyResponse,
};

/// Add, fetch, check and remove datasets
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger data add corpus.jsonl --licence CC-BY-4.0")]
pub(crate) struct Data {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Add),
    Get(Get),
    /// List the datasets in this home, or those that peers announce
    #[command(after_help = "Example: openledger data ls --peers\n\n\
                      JSON: [{root, name, datanet, licence, records, bytes, complete, kept_for}], or with --peers \
                      [{root, bytes, providers, heard: [{from, issued_us, heard_us}]}]")]
    Ls {
        /// List what peers announce instead
        #[arg(long)]
        peers: bool,
    },
    /// Print the manifest of a dataset
    #[command(
        after_help = "Example: openledger data show 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\nJSON: the manifest"
    )]
    Show {
        /// Root of the dataset
        root: BlobHash,
    },
    /// Check every byte of a dataset in this home against its root
    #[command(
        after_help = "Example: openledger data verify 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {root, shards, sources, records, bytes}"
    )]
    Verify {
        /// Root of the dataset
        root: BlobHash,
    },
    Diff(Versions),
    /// Remove a dataset; its bytes are deleted once nothing else references them
    #[command(
        after_help = "Example: openledger data rm 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {root, removed, still_kept_for}"
    )]
    Rm {
        /// Root of the dataset
        root: BlobHash,
    },
    /// List the nodes that are known to have a dataset
    #[command(
        after_help = "Example: openledger data providers 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {root, providers: [NODE]}"
    )]
    Providers {
        /// Root of the dataset
        root: BlobHash,
    },
}

/// Make a dataset from files: JSONL, CSV, Parquet, text, Markdown, images, audio
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger data add corpus.jsonl --licence CC-BY-4.0\n\n\
                  JSON: {root, name, records, bytes, sources, shards, duplicates, duplicates_within, repeats: [{root, name, \
                  datanet, records, same, examples: [{record, of, likeness_ppm}]}], compared, compared_with: {datasets, records, records_in_part, \
                  not_compared}, skipped: [[FILE, REASON]]}")]
struct Add {
    /// Files and folders to add
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Name of the dataset [default: the name of the first path]
    #[arg(long)]
    name: Option<String>,
    /// Licence: an SPDX expression, or custom:NAME:0xHASH:train+commercial+redistribute
    #[arg(long, alias = "license", value_name = "TERMS")]
    licence: String,
    /// Datanet that the dataset is for
    #[arg(long, value_name = "ID")]
    datanet: Option<DatanetId>,
    /// Account that is paid for it
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Account>,
    /// Root of the previous version
    #[arg(long, value_name = "ROOT")]
    previous: Option<BlobHash>,
    /// Reference the files instead of copying them; they must not change afterwards
    #[arg(long)]
    by_reference: bool,
    /// Skip empty files and files of an unknown kind instead of refusing them
    #[arg(long)]
    skip_unusable: bool,
    /// Unit of text and Markdown files that becomes a record
    #[arg(long, default_value = "document", value_parser = ["document", "paragraph", "line"])]
    text: String,
    /// Size of a shard
    #[arg(long, value_name = "SIZE")]
    shard_size: Option<config::Size>,
    /// Largest record; a larger one is refused
    #[arg(long, value_name = "SIZE")]
    max_record: Option<config::Size>,
}

/// Fetch a dataset from all peers that have it, in parallel
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger data get 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --out corpus\n\n\
                  JSON: {root, name, bytes, had, providers: [[NODE, BYTES]], blamed: [NODE]}"
)]
struct Get {
    /// Root of the dataset
    root: BlobHash,
    /// Write its files to this folder, which must be empty or not exist
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Permissioned datanet that it belongs to
    #[arg(long, value_name = "ID")]
    datanet: Option<DatanetId>,
    /// Also fetch from this node; may be repeated
    #[arg(long, value_name = "NODE")]
    from: Vec<NodeId>,
    /// Do not keep the dataset: the next garbage collection deletes its bytes
    #[arg(long)]
    no_keep: bool,
}

/// Compare the records of two versions of a dataset
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger data diff 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 \
                  0x7f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                  JSON: {kept, added: [POSITION], removed: [POSITION], changed: [[OLD, NEW]]}"
)]
struct Versions {
    /// Root of the old version
    old: BlobHash,
    /// Root of the new version
    new: BlobHash,
}

impl Data {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Add(add) => add.run(globals)?,
            Verb::Get(get) => get.run(globals)?,
            Verb::Ls { peers: false } => list(globals)?,
            Verb::Ls { peers: true } => known(globals)?,
            Verb::Show { root } => show(globals, root)?,
            Verb::Verify { root } => verify(globals, root)?,
            Verb::Diff(versions) => versions.run(globals)?,
            Verb::Rm { root } => remove(globals, root)?,
            Verb::Providers { root } => providers(globals, root)?,
        }
        Ok(Exit::Done)
    }
}

impl Add {
    fn run(self, globals: &Globals) -> anyhow::Result<()> {
        // The node resolves paths in its own working directory.
        let absolute =
            |path: &PathBuf| std::fs::canonicalize(path).with_context(|| format!("could not find {}", path.display()));
        let paths = self.paths.iter().map(absolute).collect::<anyhow::Result<Vec<_>>>()?;
        let first = paths.first().and_then(|path| path.file_stem());
        let name = self.name.or(first.map(|stem| stem.to_string_lossy().into_owned()));
        let ask = AddRequest {
            paths,
            name: name.context("the first path has no name; give one with --name")?,
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
        let added: AddResponse = request(globals, "/v1/data/add", &ask)?;
        globals.show(&added, || output::columns(&describe_added(&added)));
        Ok(())
    }
}

/// Describes the new dataset and its duplicates.
fn describe_added(added: &AddResponse) -> Vec<(&'static str, String)> {
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
                "{} of {} records, compared with each other and with {} records of {} datasets in this home",
                added.duplicates, added.compared, with.records, with.datasets
            ),
        ),
    ];
    rows.extend(added.repeats.iter().map(|of| {
        let text = format!(
            "{} records of {}  {}, {} of them byte for byte",
            of.records, of.root, of.name, of.same
        );
        ("Repeats", text)
    }));
    if with.records_in_part > 0 {
        let text = format!(
            "{} earlier records were compared byte for byte only, because their sketches exceed the memory limit",
            with.records_in_part
        );
        rows.push(("Partly compared", text));
    }
    let missed = |root: &BlobHash| {
        (
            "Not compared",
            format!("{root} is not in this home; `openledger data get {root}` fetches it"),
        )
    };
    rows.extend(with.not_compared.iter().map(missed));
    let left = |(file, why): &(String, String)| ("Skipped", format!("{file}: {why}"));
    rows.extend(added.skipped.iter().map(left));
    rows
}

impl Get {
    fn run(self, globals: &Globals) -> anyhow::Result<()> {
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
        let got: Got = request(globals, "/v1/data/get", &ask)?;
        globals.show(&got, || {
            let mut rows = vec![
                ("Root", got.root.to_string()),
                ("Name", got.name.clone()),
                (
                    "Bytes",
                    format!("{}, of which {} were here already", got.bytes, got.had),
                ),
            ];
            rows.extend(
                got.providers
                    .iter()
                    .map(|(node, bytes)| ("From", format!("{node:#}  {bytes} bytes"))),
            );
            rows.extend(
                got.blamed
                    .iter()
                    .map(|node| ("Banned", format!("{node:#} sent bytes that do not match their hash"))),
            );
            rows.extend(self.out.iter().map(|out| ("Written to", out.display().to_string())));
            output::columns(&rows)
        });
        Ok(())
    }
}

/// Sends a request to the running node, or handles it in this process if none runs.
pub(super) fn request<T: serde::de::DeserializeOwned>(
    globals: &Globals,
    path: &str,
    body: &impl Serialize,
) -> anyhow::Result<T> {
    wait(async { globals.operator_client().await?.request(path, body).await })
}

fn list(globals: &Globals) -> anyhow::Result<()> {
    let listed: Vec<Listed> = request(globals, "/v1/data/ls", &Value::Null)?;
    globals.show(&listed, || {
        let line = |item: &Listed| {
            let state = if item.complete { "complete" } else { "incomplete" };
            format!(
                "{}  {}  {} records  {} bytes  {}  {state}",
                item.root, item.name, item.records, item.bytes, item.licence
            )
        };
        match listed.is_empty() {
            true => "no datasets in this home; `openledger data add PATH --licence TERMS` makes one".to_owned(),
            false => listed.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(())
}

fn known(globals: &Globals) -> anyhow::Result<()> {
    let known: Vec<KnownResponse> = request(globals, "/v1/data/known", &Value::Null)?;
    globals.show(&known, || {
        let line = |item: &KnownResponse| {
            let nodes = item
                .providers
                .iter()
                .map(|node| format!("{node:#}"))
                .collect::<Vec<_>>();
            format!("{}  {} bytes  at {}", item.root, item.bytes, nodes.join(", "))
        };
        match known.is_empty() {
            true => "no peer has announced a dataset; `openledger peers list` shows the connected peers".to_owned(),
            false => known.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(())
}

fn show(globals: &Globals, root: BlobHash) -> anyhow::Result<()> {
    let manifest: Value = request(globals, "/v1/data/show", &RootRequest { root })?;
    globals.show(&manifest, || {
        serde_json::to_string_pretty(&manifest).expect("a value can be written")
    });
    Ok(())
}

fn verify(globals: &Globals, root: BlobHash) -> anyhow::Result<()> {
    let verified: VerifyResponse = request(globals, "/v1/data/verify", &RootRequest { root })?;
    globals.show(&verified, || {
        format!(
            "{} is complete and correct: {} blobs, {} files, {} records, {} bytes",
            verified.root, verified.shards, verified.sources, verified.records, verified.bytes
        )
    });
    Ok(())
}

impl Versions {
    fn run(self, globals: &Globals) -> anyhow::Result<()> {
        let (old, new) = (self.old, self.new);
        let value: Value = request(globals, "/v1/data/diff", &DiffRequest { old, new })?;
        let count = |key: &str| value[key].as_array().map_or(0, Vec::len);
        globals.show(&value, || {
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

fn remove(globals: &Globals, root: BlobHash) -> anyhow::Result<()> {
    let value: Value = request(globals, "/v1/data/rm", &RootRequest { root })?;
    globals.show(&value, || {
        let left: Vec<_> = value["still_kept_for"].as_array().into_iter().flatten().collect();
        match left.is_empty() {
            true => format!("removed {root}"),
            false => {
                let left: Vec<_> = left.iter().filter_map(|why| why.as_str()).collect();
                format!(
                    "removed {root} from the datasets; its bytes are still kept for: {}",
                    left.join(", ")
                )
            }
        }
    });
    Ok(())
}

fn providers(globals: &Globals, root: BlobHash) -> anyhow::Result<()> {
    let value: Value = request(globals, "/v1/data/providers", &RootRequest { root })?;
    globals.show(&value, || {
        let nodes: Vec<_> = value["providers"].as_array().into_iter().flatten().collect();
        match nodes.is_empty() {
            true => "no known node has it".to_owned(),
            false => nodes
                .iter()
                .filter_map(|node| node.as_str())
                .collect::<Vec<_>>()
                .join("\n"),
        }
    });
    Ok(())
}
