//! What this node shares: the blob stores, the plane they are served on, and what is known of who else has what.
//!
//! A [`Data`] without a network does what needs none, so the commands work without a running node. What is kept for
//! everybody is served to everybody and announced; a permissioned datanet has a store and a protocol of its own.

#![forbid(unsafe_code)]

mod admission;
pub mod datanets;
mod datasets;
mod error;
mod fetching;
mod known;
mod library;
mod notes;
pub mod pins;
mod records;
mod shards;
mod sharing;
mod stage;
mod talk;
#[cfg(test)]
mod tests;
mod upkeep;
mod watch;
pub mod work;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use net::{
    NetHandle,
    data::{Alpn, DataPlane, Share},
};
use protocol::{
    BlobHash, DatanetId, NodeId,
    crypto::{Domain, SecretKey},
};
use storage::blob::BlobStore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use error::{DataError, StartError};
pub use fetching::GetError;
pub use library::LibraryError;
// A training run on the command line names them so.
pub use base::operator::dataset::{RecordPart, RecordsAnswer};
pub use stage::Stage;

use self::{
    admission::{Everybody, Published},
    datanets::{Datanets, Room},
    library::Shelf,
    pins::{Beacons, Pins},
    sharing::Heard,
    stage::open_store,
    work::Offer,
};
use base::{clock::Clock, home::Home};

/// What is shared. Clones are the same.
#[derive(Clone)]
pub struct Data(Arc<Inner>);

struct Inner {
    me: NodeId,
    home: Home,
    clock: Clock,
    public: BlobStore,
    published: Arc<RwLock<Published>>,
    heard: Mutex<Heard>,
    /// None where there is no chain to sign for.
    datanets: Option<Datanets>,
    /// Something was said in a datanet that others may know more about.
    wake: tokio::sync::Notify,
    pins: Pins,
    /// What work this node offers.
    offer: Offer,
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

impl Data {
    /// What is here, without peers. Fails while a node runs in the home.
    ///
    /// Datanets are known only where there is a chain, whose name everything that is said in them is signed with.
    pub async fn offline(
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
            home: home.clone(),
            offer: Offer::open(home)?,
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
    pub async fn start(
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
            offer: Offer::open(&stage.home)?,
            home: stage.home,
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
            for desk in [datanets::desk(&data), pins::desk(&data)] {
                network.plane.accept(Alpn::stream(desk.kind()), desk);
            }
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
    pub async fn stop(&self) {
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

    /// Brings what is served up to what is kept.
    async fn refresh(&self) {
        let now = Published::of(&self.0.public).await;
        *self.0.published.write().unwrap_or_else(PoisonError::into_inner) = now;
    }
}
