//! The datasets that are here: added, fetched, listed, shown, checked, compared, written back to files, dropped.
//!
//! All but fetching needs no network, so the commands do it without a running node too. A dataset is here if a pin says
//! so; what is fetched but not kept is not listed. What everybody may read lies in one store and is announced; what is
//! for a permissioned datanet lies in the store of that datanet.

mod add;
mod error;
mod get;
mod known;
mod open;
mod records;
mod upkeep;

use std::{ops::ControlFlow, path::Path, path::PathBuf};

use protocol::{
    BlobHash,
    manifest::{Diff, Manifest},
};
use storage::{
    blob::{Content, Format, Reason, Status},
    dataset,
};

pub use error::LibraryError;
pub use records::payees;

use self::open::open;
use crate::{announcements::Announcements, datanets::Datanets, peer::Peer, public_store::PublicStore, shelf::Shelf};
use base::{
    home::Home,
    operator::dataset::{Listed, VerifyAnswer},
    report::Progress,
};
use protocol::event::Event;

/// The datasets of this node. Clones are the same.
#[derive(Clone)]
pub struct Library {
    peer: Peer,
    public: PublicStore,
    announcements: Announcements,
    datanets: Datanets,
    /// Where it is remembered what new records are compared with.
    sketches: PathBuf,
}

impl Library {
    /// The datasets in the public store and in those of datanets.
    pub(crate) fn new(
        home: &Home,
        peer: Peer,
        public: PublicStore,
        announcements: Announcements,
        datanets: Datanets,
    ) -> Self {
        Self {
            peer,
            public,
            announcements,
            datanets,
            sketches: home.sketches(),
        }
    }

    /// The stores: what everybody may read first, then those of permissioned datanets.
    pub(crate) fn shelves(&self) -> Vec<Shelf> {
        [self.public.shelf()]
            .into_iter()
            .chain(self.datanets.shelves())
            .collect()
    }

    /// The store that a dataset lies in; the public one if it lies in none.
    pub(crate) async fn shelf_of(&self, root: BlobHash) -> Shelf {
        for shelf in self.shelves() {
            if matches!(shelf.blobs.status(root).await, Status::Complete { .. }) {
                return shelf;
            }
        }
        self.public.shelf()
    }

    /// The datasets that are here.
    pub async fn list(&self) -> Vec<Listed> {
        let mut listed = Vec::new();
        for shelf in self.shelves() {
            listed.extend(list_on(&shelf).await);
        }
        listed
    }

    /// What a dataset says of itself.
    pub async fn show(&self, root: BlobHash) -> Result<Manifest, LibraryError> {
        Ok(open(&self.shelf_of(root).await, root).await?.manifest().clone())
    }

    /// Checks every byte of a dataset.
    #[tracing::instrument(name = "data.verify", skip_all, fields(root = %format_args!("{root:#}")))]
    pub async fn verify(
        &self,
        root: BlobHash,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<VerifyAnswer, LibraryError> {
        let dataset = open(&self.shelf_of(root).await, root).await?;
        let mut done = 0;
        let mut progress = move |bytes: u64| {
            done += bytes;
            tell(Progress {
                what: "checking".to_owned(),
                done,
                ..Progress::default()
            });
            ControlFlow::Continue(())
        };
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

    /// Writes the files of a dataset that is here under `folder`.
    pub async fn restore(
        &self,
        root: BlobHash,
        folder: &Path,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<(), LibraryError> {
        let (dataset, folder) = (open(&self.shelf_of(root).await, root).await?, folder.to_owned());
        let mut done = 0;
        let restoring = tokio::task::spawn_blocking(move || {
            dataset.restore(&folder, &mut |source| {
                done += source.bytes;
                tell(Progress {
                    what: format!("wrote {}", source.path),
                    done,
                    ..Progress::default()
                });
            })
        });
        Ok(restoring.await.expect("restoring does not panic")?)
    }

    /// What changed from one dataset to another.
    pub async fn diff(&self, old: BlobHash, new: BlobHash) -> Result<Diff, LibraryError> {
        let before = open(&self.shelf_of(old).await, old).await?;
        let after = open(&self.shelf_of(new).await, new).await?;
        let comparing = tokio::task::spawn_blocking(move || dataset::diff(&before, &after));
        let compared = comparing.await.expect("comparing does not panic");
        compared.map_err(|source| LibraryError::Read { root: new, source })
    }

    /// Lets a dataset go: whatever it was kept for as a dataset or by its user. What a deal or a datanet keeps stays,
    /// and is said.
    pub async fn remove(&self, root: BlobHash) -> Result<Vec<String>, LibraryError> {
        let blobs = self.shelf_of(root).await.blobs;
        let kept = blobs.reasons(root).ok_or(LibraryError::Absent { root })?;
        let mut left = Vec::new();
        for why in kept.reasons {
            match why {
                Reason::Dataset(_) | Reason::User => blobs.unpin(root, why).await?,
                other @ (Reason::Datanet(_) | Reason::Deal(_) | Reason::Adapter(_) | Reason::Job(_)) => {
                    left.push(reason(&other));
                }
            }
        }
        self.public.refresh().await;
        if left.is_empty() {
            self.announcements.withdraw(root);
            self.peer.tell(Event::DatasetRemoved { root });
        }
        Ok(left)
    }
}

/// The datasets that are kept on a shelf.
async fn list_on(shelf: &Shelf) -> Vec<Listed> {
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
