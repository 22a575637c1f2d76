//! What this node shares: the blob stores, the plane they are served on, and what is known of who else has what.
//!
//! A [`Data`] without a network does what needs none, so the commands work without a running node. What is kept for
//! everybody is served to everybody and announced; a permissioned datanet has a store and a protocol of its own.

mod admission;
mod answers;
pub mod datanets;
mod fetching;
mod library;
mod notes;
pub mod pins;
mod shards;
mod sharing;
mod talk;
mod watch;

use std::{
    io,
    num::NonZeroU64,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use config::Size;
use net::{
    NetHandle,
    data::{Alpn, DataConfig, DataPlane, Share},
};
use protocol::{
    BlobHash, DatanetId, NodeId,
    crypto::{Domain, SecretKey},
    manifest::{Diff, Manifest},
};
use storage::blob::{BlobStore, Content, Mend, Reason, Settings};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use answers::{CollectAnswer, FsckAnswer, Got, StatAnswer};
pub use fetching::GetError;
pub use library::{AddAnswer, AddAsk, LibraryError, Listed, VerifyAnswer};
pub use sharing::KnownAnswer;

use self::{
    admission::{Everybody, Published},
    datanets::{DatanetError, Datanets, Room},
    fetching::Errand,
    library::Shelf,
    pins::{Beacons, PinError, Pins},
    sharing::Heard,
};
use crate::{
    api::local::{Failure, Kind, Progress},
    clock::Clock,
    home::Home,
};

/// Why the store or the plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] storage::blob::OpenError),
    /// The folder cannot be made.
    #[error("could not make {}", dir.display())]
    Folder {
        /// Which.
        dir: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is known of datanets cannot be opened.
    #[error(transparent)]
    Datanets(#[from] Box<DatanetError>),
    /// Deals cannot be opened.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// Peers cannot be served.
    #[error("data.listen, data.relay: {0}")]
    Plane(#[from] net::data::DataStartError),
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// With what is here.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// It did not come.
    #[error(transparent)]
    Get(#[from] GetError),
    /// Not every blob can be deleted.
    #[error(transparent)]
    Collect(#[from] storage::blob::CollectError),
    /// The check did not end.
    #[error(transparent)]
    Check(#[from] storage::blob::FsckError),
    /// Some of what is kept is not what it should be.
    #[error(
        "{damaged} blobs are damaged and {missing} are missing; `openledger repo fsck --drop-damaged` and then \
             `openledger data get` of what misses them mend it"
    )]
    Unsound {
        /// How many are damaged.
        damaged: usize,
        /// How many are missing.
        missing: usize,
    },
    /// In a datanet.
    #[error(transparent)]
    Datanet(#[from] DatanetError),
    /// About copies.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// It needs peers.
    #[error("that needs a running node; start it with `openledger daemon`")]
    Offline,
}

impl DataError {
    /// As the command that asked shows it.
    pub(crate) fn failure(&self) -> Failure {
        let kind = match self {
            Self::Library(LibraryError::Ask { .. }) => Kind::Usage,
            Self::Library(LibraryError::Absent { .. }) | Self::Get(GetError::Nobody { .. }) => Kind::NotFound,
            Self::Library(LibraryError::Read { source, .. }) if !is_absent(source) => Kind::Unverified,
            Self::Unsound { .. } => Kind::Unverified,
            Self::Get(GetError::Fetch(net::data::FetchError::NoProvider { .. })) => Kind::NotFound,
            Self::Library(_) | Self::Get(_) | Self::Collect(_) | Self::Check(_) => Kind::Failed,
            Self::Datanet(why) => why.kind(),
            Self::Pin(why) => why.kind(),
            Self::Offline => Kind::NotRunning,
        };
        Failure::of(kind, self)
    }
}

/// Whether a blob that is not here is all that is wrong.
fn is_absent(error: &storage::dataset::ReadError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What is shared. Clones are the same.
#[derive(Clone)]
pub struct Data(Arc<Inner>);

struct Inner {
    me: NodeId,
    clock: Clock,
    public: BlobStore,
    published: Arc<RwLock<Published>>,
    heard: Mutex<Heard>,
    /// None where there is no chain to sign for.
    datanets: Option<Datanets>,
    /// Something was said in a datanet that others may know more about.
    wake: tokio::sync::Notify,
    pins: Pins,
    /// What the chain says about audits; none without one.
    beacons: Option<Beacons>,
    network: Option<Network>,
}

/// What is there while the node runs.
struct Network {
    plane: DataPlane,
    net: NetHandle,
    key: SecretKey,
    domain: Domain,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The stores and the plane, before there are peers.
pub(crate) struct Stage {
    /// Where peers fetch from; the control plane is told of its addresses.
    pub(crate) plane: DataPlane,
    public: BlobStore,
    home: Home,
    config: config::Config,
}

impl Stage {
    /// Opens the stores and listens.
    pub(crate) async fn open(home: &Home, config: &config::Config, seed: [u8; 32]) -> Result<Self, StartError> {
        let public = open_store(&home.blobs(), &config.data, config.storage.min_free_space).await?;
        let (data, rate) = (&config.data, |size: Size| NonZeroU64::new(size.0));
        let plane = DataPlane::start(DataConfig {
            bind: vec![data.listen],
            relay: Some(data.relay.clone()).filter(|relay| !relay.is_empty()),
            upload_per_s: rate(data.upload_per_s),
            download_per_s: rate(data.download_per_s),
            ..DataConfig::new(seed)
        });
        Ok(Self {
            plane: plane.await?,
            public,
            home: home.clone(),
            config: config.clone(),
        })
    }
}

pub(in crate::data) async fn open_store(dir: &Path, data: &config::Data, floor: Size) -> Result<BlobStore, StartError> {
    std::fs::create_dir_all(dir).map_err(|source| StartError::Folder {
        dir: dir.to_owned(),
        source,
    })?;
    let room = storage::blob::Room {
        quota: Some(data.quota.0),
        floor: floor.0,
    };
    let settings = Settings {
        room,
        ..Settings::default()
    };
    let blobs = BlobStore::open(dir, settings).await?;
    forget_imports(&blobs).await;
    Ok(blobs)
}

/// Imports that a kill cut short left reasons behind that nobody needs.
async fn forget_imports(blobs: &BlobStore) {
    let kept = blobs.kept();
    let reasons = kept.values().flat_map(|kept| kept.reasons.iter());
    let left: std::collections::BTreeSet<_> = reasons
        .filter(|reason| matches!(reason, Reason::Job(name) if name.starts_with("add ")))
        .collect();
    for reason in left {
        // Tried again at the next start.
        drop(blobs.unpin_all(reason).await);
    }
}

impl Data {
    /// What is here, without peers. Fails while a node runs in the home.
    ///
    /// Datanets are known only where there is a chain, whose name everything that is said in them is signed with.
    pub(crate) async fn offline(
        home: &Home,
        config: &config::Config,
        key: SecretKey,
        domain: Option<Domain>,
    ) -> Result<Self, StartError> {
        let public = open_store(&home.blobs(), &config.data, config.storage.min_free_space).await?;
        let (me, clock) = (NodeId(key.public()), Clock::new());
        let datanets = match domain {
            Some(domain) => Some(
                Datanets::open(home, config, key, domain, clock)
                    .await
                    .map_err(Box::new)?,
            ),
            None => None,
        };
        let pins = Pins::open(home, config, me)?;
        Ok(Self(Arc::new(Inner {
            me,
            clock,
            public,
            published: Arc::default(),
            heard: Mutex::default(),
            datanets,
            wake: tokio::sync::Notify::new(),
            pins,
            beacons: None,
            network: None,
        })))
    }

    /// Serves what is here and announces it, until [`Data::stop`].
    pub(crate) async fn start(
        stage: Stage,
        net: NetHandle,
        key: SecretKey,
        domain: Domain,
        clock: Clock,
        beacons: Beacons,
    ) -> Result<Self, StartError> {
        let pins = Pins::open(&stage.home, &stage.config, net.id())?;
        let own = SecretKey::from_seed(*key.seed());
        let datanets = Datanets::open(&stage.home, &stage.config, own, domain, clock)
            .await
            .map_err(Box::new)?;
        let published = Arc::<RwLock<Published>>::default();
        let share = Share {
            store: stage.public.api().clone(),
            admission: Arc::new(Everybody(published.clone())),
        };
        stage.plane.serve(Alpn::public(), share);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let data = Self(Arc::new(Inner {
            me: net.id(),
            clock,
            public: stage.public,
            published,
            heard: Mutex::default(),
            datanets: Some(datanets.clone()),
            wake: tokio::sync::Notify::new(),
            pins,
            beacons: Some(beacons.clone()),
            network: Some(Network {
                plane: stage.plane,
                net,
                key,
                domain,
                stop: stop.clone(),
                tasks: tasks.clone(),
            }),
        }));
        data.refresh().await;
        if let Some(network) = &data.0.network {
            let desk = datanets::Desk(Arc::downgrade(&data.0));
            network.plane.accept(Alpn::stream(datanets::KIND), Arc::new(desk));
            let desk = pins::Desk(Arc::downgrade(&data.0));
            network.plane.accept(Alpn::stream(pins::KIND), Arc::new(desk));
        }
        for room in datanets.all() {
            data.serve_room(&room);
        }
        tasks.spawn(datanets::follow(data.clone(), stop.clone()));
        tasks.spawn(pins::keep(data.clone(), beacons, stop.clone()));
        tasks.spawn(watch::collect(data.clone(), stop.clone()));
        tasks.spawn(watch::announce(data.clone(), stop.clone()));
        tasks.spawn(watch::hear(data.clone(), stop));
        Ok(data)
    }

    /// Ends every transfer and closes the stores.
    pub(crate) async fn stop(&self) {
        if let Some(network) = &self.0.network {
            network.stop.cancel();
            network.plane.shutdown().await;
            network.tasks.close();
            network.tasks.wait().await;
        }
        self.0.public.shutdown().await;
        if let Some(datanets) = &self.0.datanets {
            datanets.close().await;
        }
    }

    fn network(&self) -> Result<&Network, DataError> {
        self.0.network.as_ref().ok_or(DataError::Offline)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf(&self) -> Shelf {
        Shelf::public(self.0.public.clone())
    }

    /// The stores: what everybody may read first, then those of permissioned datanets.
    fn shelves(&self) -> Vec<Shelf> {
        let rooms = self.0.datanets.iter().flat_map(Datanets::all);
        let sealed = rooms.filter_map(|room| room.shelf());
        [self.shelf()].into_iter().chain(sealed).collect()
    }

    /// The store that a dataset lies in; the public one if it lies in none.
    async fn shelf_of(&self, root: BlobHash) -> Shelf {
        for shelf in self.shelves() {
            if matches!(shelf.blobs.status(root).await, storage::blob::Status::Complete { .. }) {
                return shelf;
            }
        }
        self.shelf()
    }

    /// The permissioned datanet of that name, or the one that has published a dataset.
    fn room_for(&self, root: Option<BlobHash>, named: Option<DatanetId>) -> Result<Option<Arc<Room>>, DataError> {
        let Some(datanets) = &self.0.datanets else {
            return if named.is_some() {
                Err(DataError::Offline)
            } else {
                Ok(None)
            };
        };
        let sealed = |room: &Arc<Room>| room.is_permissioned();
        Ok(match named {
            Some(id) => Some(datanets.room(id)?).filter(sealed),
            None => {
                let has = |room: &Arc<Room>| root.is_some_and(|root| room.registry().published().contains_key(&root));
                datanets.all().into_iter().filter(sealed).find(has)
            }
        })
    }

    /// Adds files as a dataset, and announces it.
    pub(crate) async fn add(
        &self,
        ask: AddAsk,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<AddAnswer, DataError> {
        let now_ms = self.0.clock.now().0 / 1000;
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
            return Ok(library::add(&shelf, Some(sealing), self.0.me, now_ms, ask, progress).await?);
        }
        let added = library::add(&self.shelf(), None, self.0.me, now_ms, ask, progress).await?;
        self.refresh().await;
        self.announce(added.root).await;
        Ok(added)
    }

    /// Fetches a dataset from whoever has it.
    pub(crate) async fn get(
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
            providers: fetched.providers.into_iter().collect(),
            blamed: fetched.blamed.into_iter().map(|blame| blame.node).collect(),
        })
    }

    /// Writes the files of a dataset that is here under `folder`.
    pub(crate) async fn restore(
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
    pub(crate) async fn list(&self) -> Vec<Listed> {
        let mut listed = Vec::new();
        for shelf in self.shelves() {
            listed.extend(library::list(&shelf).await);
        }
        listed
    }

    /// What a dataset says of itself.
    pub(crate) async fn show(&self, root: BlobHash) -> Result<Manifest, DataError> {
        Ok(library::open(&self.shelf_of(root).await, root)
            .await?
            .manifest()
            .clone())
    }

    /// Checks every byte of a dataset.
    pub(crate) async fn verify(
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
    pub(crate) async fn diff(&self, old: BlobHash, new: BlobHash) -> Result<Diff, DataError> {
        Ok(library::diff(&self.shelf_of(old).await, old, &self.shelf_of(new).await, new).await?)
    }

    /// Lets a dataset go, and says what it is still kept for.
    pub(crate) async fn remove(&self, root: BlobHash) -> Result<Vec<String>, DataError> {
        let left = library::drop_dataset(&self.shelf_of(root).await, root).await?;
        self.refresh().await;
        if left.is_empty() {
            self.withdraw(root);
        }
        Ok(left)
    }

    /// How the store stands.
    pub(crate) async fn stat(&self) -> StatAnswer {
        let stats = self.0.public.stats().await;
        StatAnswer {
            blobs: stats.blobs,
            bytes: stats.bytes,
            pinned: stats.pinned,
            free_bytes: stats.free_bytes,
            reserved_bytes: stats.reserved_bytes,
            collected_at_ms: stats.collected_at_ms,
            collect_errors: stats.collect_errors,
        }
    }

    /// Deletes what nobody keeps.
    pub(crate) async fn collect(&self) -> Result<CollectAnswer, DataError> {
        let mut answer = CollectAnswer { deleted: 0, live: 0 };
        for shelf in self.shelves() {
            let collected = shelf.blobs.collect().await?;
            answer.deleted += collected.deleted.len() as u64;
            answer.live += collected.live as u64;
        }
        Ok(answer)
    }

    /// Checks every blob.
    pub(crate) async fn fsck(
        &self,
        drop_damaged: bool,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<FsckAnswer, DataError> {
        let mend = if drop_damaged { Mend::Damaged } else { Mend::Orphans };
        let progress = move |done: usize, total: usize| {
            tell(Progress {
                what: format!("blob {done} of {total}"),
                ..Progress::default()
            });
        };
        let checked = self.0.public.fsck(mend, progress).await?;
        self.refresh().await;
        let (damaged, missing) = (checked.damaged.len(), checked.missing.len());
        if damaged + missing > 0 && !drop_damaged {
            return Err(DataError::Unsound { damaged, missing });
        }
        Ok(FsckAnswer {
            sound: checked.sound as u64,
            bytes: checked.bytes,
            partial: checked.partial.len() as u64,
            dropped: checked.damaged.into_keys().collect(),
            missing: checked.missing.into_iter().collect(),
            orphans: checked.orphans.len() as u64,
        })
    }

    /// Brings what is served up to what is kept.
    async fn refresh(&self) {
        let now = Published::of(&self.0.public).await;
        *self.0.published.write().unwrap_or_else(PoisonError::into_inner) = now;
    }
}
