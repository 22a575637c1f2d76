//! The data plane of a node: datasets, datanets, pins, and announcements of who has which dataset.
//!
//! The parts, each with its own state, depend on each other in this order only:
//!
//! - [`Peer`]: this node's identity, keys, clock and network handles (`peer.rs`, `requests.rs`).
//! - [`Announcements`]: datasets that this node and others announce (`announcements.rs`).
//! - [`Datanets`]: collections with an owner, curators and members; keys of permissioned ones (`datanets/`).
//! - [`Library`]: adding, fetching, verifying and removing datasets (`library/`, `fetching.rs`, `shards.rs`).
//! - [`Pins`]: deals with hosts that keep copies, audits, and copies kept for others (`pins/`).
//!
//! [`Data`] holds all of them. A `Data` without a network answers every request that needs no peer, so that commands work
//! without a running node. Public datasets are served to everybody and announced. Each permissioned datanet has its own
//! store, sealed on disk, and its own protocol name, which only its members may open.

#![forbid(unsafe_code)]

mod announcements;
mod datanets;
mod fetching;
mod library;
mod open;
mod peer;
mod pins;
mod public_store;
mod record_list;
mod requests;
mod shard_store;
mod shards;
#[cfg(test)]
mod tests;

use net::{NetHandle, data::Alpn};
use protocol::crypto::{Domain, SecretKey};

pub use announcements::Announcements;
pub use datanets::{DatanetError, Datanets};
pub use fetching::GetError;
pub use library::{Library, LibraryError, payees};
pub use open::{OpenDataError, Opened, StoreError};
pub use peer::{Offline, Peer};
pub use pins::{Beacons, PinError, Pins};
pub use record_list::RecordListError;
pub use requests::RequestError;

use self::{open::open_store, public_store::PublicStore};
use base::{clock::Clock, events::Events, home::Home};

/// Reason that the data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Datanets(#[from] Box<DatanetError>),
    #[error(transparent)]
    Pins(#[from] PinError),
}

/// All parts of the data plane, opened and closed together. Clones share them.
#[derive(Clone)]
pub struct Data {
    pub peer: Peer,
    pub announcements: Announcements,
    pub datanets: Datanets,
    pub library: Library,
    pub pins: Pins,
    public: PublicStore,
}

impl Data {
    /// Opens the data of a home without a network. Fails while a node runs in the home.
    ///
    /// Without a chain (`domain`) there are no datanets, because their statements are signed for a chain.
    pub async fn offline(
        home: &Home,
        config: &config::Config,
        key: SecretKey,
        domain: Option<Domain>,
    ) -> Result<Self, StartError> {
        let store = open_store(&home.blobs(), &config.data, config.storage.min_free_space).await?;
        Self::assemble(home, config, Peer::offline(key, domain), PublicStore::new(store), None).await
    }

    /// Serves and announces the data of a running node, until [`Data::stop`].
    pub async fn start(
        stage: Opened,
        net: NetHandle,
        key: SecretKey,
        domain: Domain,
        clock: Clock,
        events: Events,
        beacons: Beacons,
    ) -> Result<Self, StartError> {
        let peer = Peer::online(key, domain, clock, events, stage.plane, net);
        let public = PublicStore::new(stage.public);
        let data = Self::assemble(&stage.home, &stage.config, peer, public, Some(beacons)).await?;
        data.peer.serve(Alpn::public(), data.public.share());
        data.public.refresh().await;
        data.datanets.start();
        data.pins.start();
        data.library.start();
        data.announcements.start();
        Ok(data)
    }

    async fn assemble(
        home: &Home,
        config: &config::Config,
        peer: Peer,
        public: PublicStore,
        beacons: Option<Beacons>,
    ) -> Result<Self, StartError> {
        let deals = pins::Deals::open(home, config, peer.id())?;
        let datanets = Datanets::open(home, config, peer.clone()).await.map_err(Box::new)?;
        let announcements = Announcements::new(peer.clone(), public.clone());
        let library = Library::new(
            home,
            peer.clone(),
            public.clone(),
            announcements.clone(),
            datanets.clone(),
        );
        let pins = Pins::new(pins::Parts {
            peer: peer.clone(),
            public: public.clone(),
            announcements: announcements.clone(),
            datanets: datanets.clone(),
            library: library.clone(),
            deals,
            beacons,
        });
        Ok(Self {
            peer,
            announcements,
            datanets,
            library,
            pins,
            public,
        })
    }

    /// Ends every transfer and closes the stores.
    pub async fn stop(&self) {
        self.peer.stop().await;
        self.public.blobs.shutdown().await;
        self.datanets.close().await;
    }
}
