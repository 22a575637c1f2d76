//! Files become a dataset: read, compared with what is here, stored, kept and announced.

use std::{ops::ControlFlow, sync::Arc};

use protocol::{NodeId, licence::Licence, manifest::Contributor};
use storage::{
    blob::Reason,
    dataset::{self, About, DuplicateOf, DuplicateRecord, Options, TextRecords},
};

use super::{
    Library, LibraryError,
    known::{self, Known},
    open::keep,
};
use crate::{
    shards::{Sealing, Sink},
    shelf::Shelf,
};
use base::{
    operator::dataset::{AddResponse, AddRequest},
    report::Progress,
};
use protocol::event::Event;

impl Library {
    /// Adds files as a dataset, and announces it.
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
                what: format!("reading {name}, which is here, to compare with"),
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
        let room = match ask.datanet {
            Some(_) => self.datanets.room_for(None, ask.datanet)?,
            None => None,
        };
        if let Some(room) = room {
            let (shelf, sealing) = (
                room.shelf().expect("a permissioned datanet has a store"),
                room.sealing()?,
            );
            let added = import(&shelf, Some(sealing), self.peer.id(), now_ms, (ask, known), progress).await?;
            self.told(&added);
            return Ok(added);
        }
        let added = import(
            &self.public.shelf(),
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

/// Adds files to a store. What is acknowledged is on disk and stays.
async fn import(
    shelf: &Shelf,
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

fn options(ask: &AddRequest) -> Result<Options, LibraryError> {
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
