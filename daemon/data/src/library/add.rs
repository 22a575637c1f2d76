//! Adding files as a dataset: reads them, compares the records with those of other datasets, stores, pins and announces.

use std::{ops::ControlFlow, sync::Arc};

use protocol::{NodeId, licence::Licence, manifest::Contributor};
use storage::{
    blob::Reason,
    dataset::{self, About, DuplicateOf, DuplicateRecord, Options, TextRecords},
};

use super::{
    Library, LibraryError,
    duplicates::{self, Known},
    open::keep,
};
use crate::{
    shard_store::ShardStore,
    shards::{Sealing, Sink},
};
use base::{
    argument::InvalidArgument,
    operator::dataset::{AddRequest, AddResponse},
    report::Progress,
};
use protocol::event::Event;

impl Library {
    /// Adds files as a dataset and announces it. The dataset is durable when this returns.
    #[tracing::instrument(name = "data.add", skip_all, fields(name = ask.name))]
    pub async fn add(
        &self,
        ask: AddRequest,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<AddResponse, LibraryError> {
        let now_ms = self.peer.now().0 / 1000;
        let tell = Arc::new(tell);
        let reading = tell.clone();
        let known = self.comparable(ask.datanet, ask.previous, move |name, done| {
            reading(Progress {
                what: format!("reading {name} to compare with"),
                done,
                ..Progress::default()
            });
        });
        let known = known.await;
        let progress = move |progress: &dataset::Progress<'_>| {
            tell(Progress {
                what: format!("reading {}", progress.file),
                done: progress.bytes_done,
                total: Some(progress.bytes),
                sources: Vec::new(),
            });
            ControlFlow::Continue(())
        };
        let local = match ask.datanet {
            Some(_) => self.datanets.permissioned(None, ask.datanet)?,
            None => None,
        };
        if let Some(local) = local {
            let (store, sealing) = (
                local.shard_store().expect("a permissioned datanet has a store"),
                local.sealing()?,
            );
            let added = import(&store, Some(sealing), self.peer.id(), now_ms, (ask, known), progress).await?;
            self.told(&added);
            return Ok(added);
        }
        let added = import(
            &self.public.shard_store(),
            None,
            self.peer.id(),
            now_ms,
            (ask, known),
            progress,
        )
        .await?;
        self.public.refresh().await;
        self.announcements.announce(added.root).await;
        self.told(&added);
        Ok(added)
    }

    fn told(&self, added: &AddResponse) {
        self.peer.tell(Event::DatasetAdded {
            root: added.root,
            records: added.records,
            bytes: added.bytes,
        });
    }
}

/// Imports files into a store, and pins the dataset.
async fn import(
    store: &ShardStore,
    sealing: Option<Sealing>,
    me: NodeId,
    created_ms: u64,
    ask: (AddRequest, Known),
    mut progress: impl FnMut(&dataset::Progress<'_>) -> ControlFlow<()> + Send + 'static,
) -> Result<AddResponse, LibraryError> {
    let (ask, known) = ask;
    let about = about(&ask, me, created_ms)?;
    let options = Options {
        known: Arc::new(known.clone()),
        ..options(&ask)?
    };
    let blobs = store.blobs.clone();
    // The import pins its blobs under a reason of its own until the dataset is pinned. The next start drops leftovers.
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
    // A failure leaves the pins for the next start to drop.
    drop(blobs.unpin_all(&working).await);
    let (root, done) = imported?;
    kept?;
    let (compared_with, repeats) = known.report(&done.duplicates);
    let within = |found: &&DuplicateRecord| matches!(found.of, DuplicateOf::Record(_));
    let duplicates_within = done.duplicates.iter().filter(within).count() as u64;
    let card = duplicates::card(root, &done.manifest, created_ms);
    let entries = done.entries;
    let storing = tokio::task::spawn_blocking(move || known.store_sketches(card, &entries));
    storing.await.expect("storing sketches does not panic");
    Ok(AddResponse {
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

fn about(ask: &AddRequest, me: NodeId, created_ms: u64) -> Result<About, LibraryError> {
    protocol::manifest::check_name(&ask.name).map_err(|what| InvalidArgument::new("name", what))?;
    let licence: Licence = ask
        .licence
        .parse()
        .map_err(|wrong: protocol::licence::LicenceError| InvalidArgument::new("licence", wrong))?;
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

fn options(ask: &AddRequest) -> Result<Options, LibraryError> {
    let defaults = Options::default();
    let text = match ask.text.as_str() {
        "document" => TextRecords::Document,
        "paragraph" => TextRecords::Paragraph,
        "line" => TextRecords::Line,
        other => {
            let what = format!("`{other}` is not one of document, paragraph and line");
            return Err(InvalidArgument::new("text", what).into());
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
