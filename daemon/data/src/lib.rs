//! What this node shares: datasets, datanets, pins, and what is known of who else has what.
//!
//! The parts stand on each other in this order: [`Peer`] (who this node is), [`Announcements`] and [`Datanets`],
//! [`Library`] (datasets), [`Pins`]. Each keeps its own state and calls those below it only. A [`Data`] without a network
//! does what needs none, so the commands work without a running node. What is kept for everybody is served to everybody
//! and announced; a permissioned datanet has a store and a protocol of its own.

#![forbid(unsafe_code)]

mod announcements;
mod datanets;
mod fetching;
mod library;
mod notes;
mod peer;
mod pins;
mod public_store;
mod shards;
mod shelf;
mod stage;
mod talk;
#[cfg(test)]
mod tests;

use net::{NetHandle, data::Alpn};
use protocol::crypto::{Domain, SecretKey};

pub use announcements::Announcements;
pub use datanets::{DatanetError, Datanets};
pub use fetching::GetError;
pub use library::{Library, LibraryError, payees};
pub use notes::NoteError;
pub use peer::{Offline, Peer};
pub use pins::{Beacons, PinError, Pins};
pub use stage::{Stage, StageError, StoreError};
pub use talk::TalkError;

use self::{public_store::PublicStore, stage::open_store};
use base::{clock::Clock, events::Events, home::Home};

/// Why what is shared did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The public store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is known of datanets cannot be opened.
    #[error(transparent)]
    Datanets(#[from] Box<DatanetError>),
    /// Deals cannot be opened.
    #[error(transparent)]
    Pins(#[from] PinError),
}

/// The parts of what is shared, opened and closed together. Clones are the same.
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
    /// What is here, without peers. Fails while a node runs in the home.
    ///
    /// Datanets are known only where there is a chain, whose name everything that is said in them is signed with.
    pub async fn offline(
        home: &Home,
        config: &config::Config,
        key: SecretKey,
        domain: Option<Domain>,
    ) -> Result<Self, StartError> {
        let store = open_store(&home.blobs(), &config.data, config.storage.min_free_space).await?;
        Self::assemble(home, config, Peer::offline(key, domain), PublicStore::new(store), None).await
    }

    /// Serves what is here and announces it, until [`Data::stop`].
    pub async fn start(
        stage: Stage,
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
