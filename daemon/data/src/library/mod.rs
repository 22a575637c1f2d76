//! The datasets of this node: adding, fetching, listing, verifying, comparing, restoring to files, removing.
//!
//! Everything except fetching works without a network, so commands do it without a running node. A dataset belongs to the
//! node if a pin keeps it; one that was fetched without being kept is not listed. Public datasets are in one store and are
//! announced; those of a permissioned datanet are in that datanet's store.

mod add;
mod duplicates;
mod error;
mod get;
mod maintenance;
mod open;
mod records;

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
use crate::{
    announcements::Announcements, datanets::Datanets, peer::Peer, public_store::PublicStore, shard_store::ShardStore,
};
use base::{
    home::Home,
    operator::dataset::{Listed, VerifyResponse},
    report::Progress,
};
use protocol::event::Event;

/// The datasets of this node. Clones share them.
#[derive(Clone)]
pub struct Library {
    peer: Peer,
    public: PublicStore,
    announcements: Announcements,
    datanets: Datanets,
    /// Folder of the sketches that new records are compared with.
    sketches: PathBuf,
}

impl Library {
    /// Opens the library over the public store and the stores of datanets.
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

    /// All stores: the public one first, then those of permissioned datanets.
    pub(crate) fn stores(&self) -> Vec<ShardStore> {
        [self.public.shard_store()]
            .into_iter()
            .chain(self.datanets.stores())
            .collect()
    }

    /// The store that has a dataset; the public one if none has it.
    pub(crate) async fn store_of(&self, root: BlobHash) -> ShardStore {
        for store in self.stores() {
            if matches!(store.blobs.status(root).await, Status::Complete { .. }) {
                return store;
            }
        }
        self.public.shard_store()
    }

    /// Lists the datasets that are kept.
    pub async fn list(&self) -> Vec<Listed> {
        let mut listed = Vec::new();
        for store in self.stores() {
            listed.extend(list_on(&store).await);
        }
        listed
    }

    /// Reads the manifest of a dataset.
    pub async fn show(&self, root: BlobHash) -> Result<Manifest, LibraryError> {
        Ok(open(&self.store_of(root).await, root).await?.manifest().clone())
    }

    /// Checks every byte of a dataset against its manifest.
    #[tracing::instrument(name = "data.verify", skip_all, fields(root = %format_args!("{root:#}")))]
    pub async fn verify(
        &self,
        root: BlobHash,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<VerifyResponse, LibraryError> {
        let dataset = open(&self.store_of(root).await, root).await?;
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
            return Err(LibraryError::Cancelled);
        }
        Ok(VerifyResponse {
            root,
            shards: verified.shards as u64,
            sources: verified.sources as u64,
            records: verified.records,
            bytes: verified.bytes,
        })
    }

    /// Restores the original files of a dataset below `folder`.
    pub async fn restore(
        &self,
        root: BlobHash,
        folder: &Path,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<(), LibraryError> {
        let (dataset, folder) = (open(&self.store_of(root).await, root).await?, folder.to_owned());
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

    /// Compares the records of two versions of a dataset.
    pub async fn diff(&self, old: BlobHash, new: BlobHash) -> Result<Diff, LibraryError> {
        let before = open(&self.store_of(old).await, old).await?;
        let after = open(&self.store_of(new).await, new).await?;
        let comparing = tokio::task::spawn_blocking(move || dataset::diff(&before, &after));
        let compared = comparing.await.expect("comparing does not panic");
        compared.map_err(|source| LibraryError::Read { root: new, source })
    }

    /// Removes the pins that keep a dataset for the user. Returns the remaining reasons, such as deals and datanets, for
    /// which its blobs stay.
    pub async fn remove(&self, root: BlobHash) -> Result<Vec<String>, LibraryError> {
        let blobs = self.store_of(root).await.blobs;
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

/// Lists the datasets that are kept in a store.
async fn list_on(store: &ShardStore) -> Vec<Listed> {
    let mut listed = Vec::new();
    for (root, kept) in store.blobs.kept() {
        if kept.format != Format::Sequence {
            continue;
        }
        let kept_for: Vec<_> = kept.reasons.iter().map(reason).collect();
        let manifest = open(store, root).await.map(|dataset| dataset.manifest().clone());
        let complete = store.blobs.settle(Content::sequence(root)).await.is_ok();
        listed.push(match manifest {
            Ok(manifest) => Listed {
                root,
                name: manifest.name,
                datanet: manifest.datanet.or(store.datanet),
                licence: manifest.licence.to_string(),
                records: manifest.records,
                bytes: manifest.bytes,
                complete,
                kept_for,
            },
            // Incomplete, or sealed with a key that this node does not hold.
            Err(_) => Listed {
                root,
                name: kept.reasons.iter().find_map(dataset_name).unwrap_or_default(),
                datanet: store.datanet,
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

/// Describes the reason of a pin.
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
