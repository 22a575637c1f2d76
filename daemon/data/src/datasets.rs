//! Datasets in the stores of this node: added, fetched, written back, listed, checked, compared, let go.

use std::{ops::ControlFlow, path::Path};

use net::data::Alpn;
use protocol::{
    BlobHash, DatanetId, NodeId,
    manifest::{Diff, Manifest},
};
use storage::blob::Content;

use super::{
    Data, DataError,
    fetching::{self, Errand},
    library,
};
use base::{
    operator::dataset::{AddAnswer, AddAsk, Got, Listed, VerifyAnswer},
    report::Progress,
};

impl Data {
    /// Adds files as a dataset, and announces it.
    pub async fn add(
        &self,
        ask: AddAsk,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<AddAnswer, DataError> {
        let now_ms = self.0.clock.now().0 / 1000;
        let tell = std::sync::Arc::new(tell);
        let reading = tell.clone();
        let known = self.comparable(ask.datanet, ask.previous, move |name, done| {
            reading(Progress {
                what: format!("reading {name}, which is here, to compare with"),
                done,
                ..Progress::default()
            });
        });
        let known = known.await;
        let progress = move |progress: &storage::dataset::Progress<'_>| {
            tell(Progress {
                what: format!("reading {}", progress.file),
                done: progress.bytes_done,
                total: Some(progress.bytes),
                sources: Vec::new(),
            });
            ControlFlow::Continue(())
        };
        let room = match ask.datanet {
            Some(_) => self.room_for(None, ask.datanet)?,
            None => None,
        };
        if let Some(room) = room {
            let (shelf, sealing) = (
                room.shelf().expect("a permissioned datanet has a store"),
                room.sealing()?,
            );
            return Ok(library::add(&shelf, Some(sealing), self.0.me, now_ms, (ask, known), progress).await?);
        }
        let added = library::add(&self.shelf(), None, self.0.me, now_ms, (ask, known), progress).await?;
        self.refresh().await;
        self.announce(added.root).await;
        Ok(added)
    }

    /// Fetches a dataset from whoever has it.
    pub async fn get(
        &self,
        root: BlobHash,
        datanet: Option<DatanetId>,
        from: Vec<NodeId>,
        keep: bool,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<Got, DataError> {
        let room = self.room_for(Some(root), datanet)?;
        let shelf = room
            .as_ref()
            .and_then(|room| room.shelf())
            .unwrap_or_else(|| self.shelf());
        let content = Content::sequence(root);
        let fetched = match shelf.blobs.settle(content).await {
            Ok(bytes) => net::data::Fetched {
                bytes,
                had: bytes,
                ..net::data::Fetched::default()
            },
            Err(_) => {
                let network = self.network()?;
                let errand = Errand {
                    plane: &network.plane,
                    net: &network.net,
                    shelf: &shelf,
                    content,
                    bytes: self.announced_bytes(root),
                    providers: match &room {
                        Some(room) => self.members_of(room, from),
                        None => self.providers_or(root, from).await,
                    },
                    alpn: room.as_ref().map_or_else(Alpn::public, |room| Alpn::datanet(room.id)),
                };
                fetching::fetch(errand, tell).await?
            }
        };
        let name = library::open(&shelf, root).await?.manifest().name.clone();
        if keep {
            library::keep(&shelf.blobs, root, &name).await?;
            match &room {
                Some(room) => drop(room.refresh(self.0.clock.now()).await),
                None => {
                    self.refresh().await;
                    self.announce(root).await;
                }
            }
        }
        Ok(Got {
            root,
            name,
            bytes: fetched.bytes,
            had: fetched.had,
            providers: fetching::credited(&fetched),
            blamed: fetching::blamed(&fetched),
        })
    }

    /// Writes the files of a dataset that is here under `folder`.
    pub async fn restore(
        &self,
        root: BlobHash,
        folder: &Path,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<(), DataError> {
        let mut done = 0;
        let progress = move |file: &str, bytes: u64| {
            done += bytes;
            tell(Progress {
                what: format!("wrote {file}"),
                done,
                ..Progress::default()
            });
        };
        Ok(library::restore(&self.shelf_of(root).await, root, folder, progress).await?)
    }

    /// The datasets that are here.
    pub async fn list(&self) -> Vec<Listed> {
        let mut listed = Vec::new();
        for shelf in self.shelves() {
            listed.extend(library::list(&shelf).await);
        }
        listed
    }

    /// What a dataset says of itself.
    pub async fn show(&self, root: BlobHash) -> Result<Manifest, DataError> {
        Ok(library::open(&self.shelf_of(root).await, root)
            .await?
            .manifest()
            .clone())
    }

    /// Checks every byte of a dataset.
    pub async fn verify(
        &self,
        root: BlobHash,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<VerifyAnswer, DataError> {
        let mut done = 0;
        let progress = move |bytes: u64| {
            done += bytes;
            tell(Progress {
                what: "checking".to_owned(),
                done,
                ..Progress::default()
            });
            ControlFlow::Continue(())
        };
        Ok(library::verify(&self.shelf_of(root).await, root, progress).await?)
    }

    /// What changed from one dataset to another.
    pub async fn diff(&self, old: BlobHash, new: BlobHash) -> Result<Diff, DataError> {
        Ok(library::diff(&self.shelf_of(old).await, old, &self.shelf_of(new).await, new).await?)
    }

    /// Lets a dataset go, and says what it is still kept for.
    pub async fn remove(&self, root: BlobHash) -> Result<Vec<String>, DataError> {
        let left = library::drop_dataset(&self.shelf_of(root).await, root).await?;
        self.refresh().await;
        if left.is_empty() {
            self.withdraw(root);
        }
        Ok(left)
    }
}
