//! The datasets that are here: added, listed, shown, checked, compared, written back to files, dropped.
//!
//! Needs no network, so the commands do all of this without a running node too. A dataset is here if a pin says so; what
//! is fetched but not kept is not listed.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use protocol::{
    BlobHash, DatanetId, NodeId,
    licence::Licence,
    manifest::{Contributor, Diff, Manifest},
    seal,
};
use storage::{
    blob::{BlobStore, Content, Format, ReadError, Reason, Status},
    dataset::{
        self, About, Dataset, DuplicateOf, DuplicateRecord, IngestError, Options, RestoreError, ShardSource,
        TextRecords,
    },
};

use super::{
    known::{self, Known},
    shards::{Opened, Sealing, Sink, Source},
};
use base::operator::dataset::{AddAnswer, AddAsk, Listed, VerifyAnswer};

/// The key that a sealed shard was sealed with, if it is here.
pub(crate) type Keys = Arc<dyn Fn(&seal::Header) -> Option<seal::EpochKey> + Send + Sync>;

/// One store, and what opens the shards in it if they are sealed.
#[derive(Clone)]
pub(crate) struct Shelf {
    /// Where the bytes are.
    pub(crate) blobs: BlobStore,
    /// The datanet that the store is for; none for what everybody may read.
    pub(crate) datanet: Option<DatanetId>,
    /// The keys of that datanet that are here.
    pub(crate) keys: Keys,
}

impl Shelf {
    /// A store that everybody may read.
    pub(crate) fn public(blobs: BlobStore) -> Self {
        Self {
            blobs,
            datanet: None,
            keys: Arc::new(|_| None),
        }
    }
}

/// Why something about a dataset failed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// What was asked for cannot be meant.
    #[error("`{field}`: {what}")]
    Ask {
        /// The argument.
        field: &'static str,
        /// What is wrong with it and what would be right.
        what: String,
    },
    /// It is not here.
    #[error("dataset {root:#} is not here; `openledger data get {root}` fetches it")]
    Absent {
        /// Its name.
        root: BlobHash,
    },
    /// The import failed.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// It cannot be read.
    #[error("dataset {root:#} cannot be read")]
    Read {
        /// Its name.
        root: BlobHash,
        /// Why.
        #[source]
        source: dataset::ReadError,
    },
    /// A record of it is none that can be learned from.
    #[error(transparent)]
    Object(#[from] dataset::ObjectError),
    /// Its sealed blobs cannot be opened, or its root not be stored.
    #[error("dataset {root:#} cannot be opened or stored")]
    Seal {
        /// Its name.
        root: BlobHash,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its files were not written.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// It could not be kept, or not be let go.
    #[error(transparent)]
    Pin(#[from] storage::blob::PinError),
    /// It is not safely on disk.
    #[error(transparent)]
    Settle(#[from] storage::blob::SettleError),
    /// Its blobs could not be looked at.
    #[error(transparent)]
    Blob(#[from] ReadError),
    /// Whoever asked went away.
    #[error("it was called off")]
    CalledOff,
}

/// Adds files as a dataset. What is acknowledged is on disk and stays.
pub(crate) async fn add(
    shelf: &Shelf,
    sealing: Option<Sealing>,
    me: NodeId,
    created_ms: u64,
    ask: (AddAsk, Known),
    mut progress: impl FnMut(&dataset::Progress<'_>) -> ControlFlow<()> + Send + 'static,
) -> Result<AddAnswer, LibraryError> {
    let (ask, known) = ask;
    let about = about(&ask, me, created_ms)?;
    let options = Options {
        known: Arc::new(known.clone()),
        ..options(&ask)?
    };
    let blobs = shelf.blobs.clone();
    // Until the dataset has its own reason, its blobs are kept for the import; the next start forgets those.
    let working = Reason::Job(format!("add {} {created_ms}", ask.name));
    let mut sink = Sink::new(blobs.clone(), working.clone(), ask.by_reference, sealing);
    let imported = tokio::task::spawn_blocking(move || {
        let done = dataset::ingest(&ask.paths, &about, &options, &mut sink, &mut progress)?;
        let root = sink.finish(&done.manifest).map_err(|source| LibraryError::Seal {
            root: done.root,
            source,
        })?;
        Ok::<_, LibraryError>((root, done))
    });
    let imported = imported.await.expect("an import does not panic");
    let kept = match &imported {
        Ok((root, done)) => keep(&blobs, *root, &done.manifest.name).await,
        Err(_) => Ok(()),
    };
    // What fails here is left for the next start to forget.
    drop(blobs.unpin_all(&working).await);
    let (root, done) = imported?;
    kept?;
    let (compared_with, repeats) = known.report(&done.duplicates);
    let within = |found: &&DuplicateRecord| matches!(found.of, DuplicateOf::Record(_));
    let duplicates_within = done.duplicates.iter().filter(within).count() as u64;
    let card = known::card(root, &done.manifest, created_ms);
    let entries = done.entries;
    let remembering = tokio::task::spawn_blocking(move || known.remember(card, &entries));
    remembering.await.expect("remembering does not panic");
    Ok(AddAnswer {
        root,
        records: done.manifest.records,
        bytes: done.manifest.bytes,
        sources: done.manifest.sources,
        shards: done.manifest.shards.len() as u64,
        duplicates: done.duplicates.len() as u64,
        duplicates_within,
        repeats,
        compared_with,
        compared: done.compared,
        skipped: done
            .skipped
            .into_iter()
            .map(|file| (file.name, file.why.to_owned()))
            .collect(),
        name: done.manifest.name,
    })
}

/// Keeps a dataset that is all here.
pub(crate) async fn keep(blobs: &BlobStore, root: BlobHash, name: &str) -> Result<(), LibraryError> {
    let content = Content::sequence(root);
    blobs.settle(content).await?;
    Ok(blobs.pin(content, Reason::Dataset(name.to_owned())).await?)
}

fn about(ask: &AddAsk, me: NodeId, created_ms: u64) -> Result<About, LibraryError> {
    protocol::manifest::check_name(&ask.name).map_err(|what| LibraryError::Ask { field: "name", what })?;
    let licence: Licence = ask
        .licence
        .parse()
        .map_err(|wrong: protocol::licence::LicenceError| LibraryError::Ask {
            field: "licence",
            what: wrong.to_string(),
        })?;
    Ok(About {
        name: ask.name.clone(),
        datanet: ask.datanet,
        licence,
        contributors: vec![Contributor {
            node: me,
            account: ask.account,
        }],
        previous: ask.previous,
        created_ms,
    })
}

fn options(ask: &AddAsk) -> Result<Options, LibraryError> {
    let defaults = Options::default();
    let text = match ask.text.as_str() {
        "document" => TextRecords::Document,
        "paragraph" => TextRecords::Paragraph,
        "line" => TextRecords::Line,
        other => {
            let what = format!("`{other}` is none of document, paragraph and line");
            return Err(LibraryError::Ask { field: "text", what });
        }
    };
    Ok(Options {
        shard_bytes: ask.shard_bytes.unwrap_or(defaults.shard_bytes),
        record_bytes_max: ask.record_bytes_max.unwrap_or(defaults.record_bytes_max),
        skip_unusable: ask.skip_unusable,
        text,
        ..defaults
    })
}

/// The datasets that are kept on a shelf.
pub(crate) async fn list(shelf: &Shelf) -> Vec<Listed> {
    let mut listed = Vec::new();
    for (root, kept) in shelf.blobs.kept() {
        if kept.format != Format::Sequence {
            continue;
        }
        let kept_for: Vec<_> = kept.reasons.iter().map(reason).collect();
        let manifest = open(shelf, root).await.map(|dataset| dataset.manifest().clone());
        let complete = shelf.blobs.settle(Content::sequence(root)).await.is_ok();
        listed.push(match manifest {
            Ok(manifest) => Listed {
                root,
                name: manifest.name,
                datanet: manifest.datanet.or(shelf.datanet),
                licence: manifest.licence.to_string(),
                records: manifest.records,
                bytes: manifest.bytes,
                complete,
                kept_for,
            },
            // Not all here yet, or sealed under a key that is not here.
            Err(_) => Listed {
                root,
                name: kept.reasons.iter().find_map(dataset_name).unwrap_or_default(),
                datanet: shelf.datanet,
                licence: String::new(),
                records: 0,
                bytes: 0,
                complete,
                kept_for,
            },
        });
    }
    listed
}

fn dataset_name(reason: &Reason) -> Option<String> {
    match reason {
        Reason::Dataset(name) => Some(name.clone()),
        Reason::User | Reason::Datanet(_) | Reason::Deal(_) | Reason::Adapter(_) | Reason::Job(_) => None,
    }
}

/// A reason for people.
pub(crate) fn reason(reason: &Reason) -> String {
    match reason {
        Reason::User => "pinned by its user".to_owned(),
        Reason::Dataset(name) => format!("dataset {name}"),
        Reason::Datanet(id) => format!("datanet {id:#}"),
        Reason::Deal(id) => format!("deal {:#}", BlobHash(*id)),
        Reason::Adapter(id) => format!("adapter {id:#}"),
        Reason::Job(name) => format!("job {name}"),
    }
}

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

/// Checks every byte of a dataset.
pub(crate) async fn verify(
    shelf: &Shelf,
    root: BlobHash,
    mut progress: impl FnMut(u64) -> ControlFlow<()> + Send + 'static,
) -> Result<VerifyAnswer, LibraryError> {
    let dataset = open(shelf, root).await?;
    let verifying = tokio::task::spawn_blocking(move || dataset.verify(&mut progress));
    let verified = verifying.await.expect("verifying does not panic");
    let verified = verified.map_err(|source| LibraryError::Read { root, source })?;
    if verified.stopped {
        return Err(LibraryError::CalledOff);
    }
    Ok(VerifyAnswer {
        root,
        shards: verified.shards as u64,
        sources: verified.sources as u64,
        records: verified.records,
        bytes: verified.bytes,
    })
}

/// Writes the source files of a dataset under `folder`.
pub(crate) async fn restore(
    shelf: &Shelf,
    root: BlobHash,
    folder: &Path,
    mut progress: impl FnMut(&str, u64) + Send + 'static,
) -> Result<(), LibraryError> {
    let (dataset, folder) = (open(shelf, root).await?, folder.to_owned());
    let restoring = tokio::task::spawn_blocking(move || {
        dataset.restore(&folder, &mut |source| progress(&source.path, source.bytes))
    });
    Ok(restoring.await.expect("restoring does not panic")?)
}

/// What changed from one dataset to another.
pub(crate) async fn diff(old: &Shelf, before: BlobHash, new: &Shelf, after: BlobHash) -> Result<Diff, LibraryError> {
    let (old, new) = (open(old, before).await?, open(new, after).await?);
    let comparing = tokio::task::spawn_blocking(move || dataset::diff(&old, &new));
    let compared = comparing.await.expect("comparing does not panic");
    compared.map_err(|source| LibraryError::Read { root: after, source })
}

/// Lets a dataset go: whatever it was kept for as a dataset or by its user. What a deal or a datanet keeps stays, and is
/// said.
pub(crate) async fn drop_dataset(shelf: &Shelf, root: BlobHash) -> Result<Vec<String>, LibraryError> {
    let kept = shelf.blobs.why(root).ok_or(LibraryError::Absent { root })?;
    let mut left = Vec::new();
    for why in kept.reasons {
        match why {
            Reason::Dataset(_) | Reason::User => shelf.blobs.unpin(root, why).await?,
            other @ (Reason::Datanet(_) | Reason::Deal(_) | Reason::Adapter(_) | Reason::Job(_)) => {
                left.push(reason(&other));
            }
        }
    }
    Ok(left)
}
