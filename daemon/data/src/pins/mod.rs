//! Pins: deals with hosts that keep copies for this node, and copies that it keeps for others, audited every epoch.
//!
//! The state machines in `protocol::machine` decide. The shells here ([`owner`], [`hosted`]) write each input to disk,
//! step the machine, and perform its effects. Amounts owed are counted and not paid; payment comes with the chain's
//! contracts. The owner of a deal audits its hosts.

mod ask;
mod deals;
mod error;
mod hosted;
mod journaled;
mod metrics;
mod owner;
mod peer_requests;
mod probe;
mod record;
mod renew;
#[cfg(test)]
mod tests;
mod verify;
mod view;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use protocol::proof::Beacon;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use deals::Deals;
pub use error::PinError;

use crate::{
    announcements::Announcements, datanets::Datanets, library::Library, peer::Peer, public_store::PublicStore,
};

/// Interval at which deadlines are checked.
const TICK_EVERY: Duration = Duration::from_millis(250);

/// The latest beacons of the chain, by epoch.
pub type Beacons = watch::Receiver<BTreeMap<u64, Beacon>>;

/// The deals and hosted copies of this node. Clones share them.
#[derive(Clone)]
pub struct Pins(Arc<Parts>);

/// The parts that pins use.
pub(crate) struct Parts {
    pub(crate) peer: Peer,
    pub(crate) public: PublicStore,
    pub(crate) announcements: Announcements,
    pub(crate) datanets: Datanets,
    pub(crate) library: Library,
    pub(crate) deals: Deals,
    /// Beacons from which audits are drawn; `None` without a running chain.
    pub(crate) beacons: Option<Beacons>,
}

impl Pins {
    /// Combines the parts. Nothing runs until [`Pins::start`].
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Handles requests of other nodes, resumes unfinished work, and audits, until the node stops.
    pub(crate) fn start(&self) {
        self.0.peer.handle(peer_requests::request_handler(self));
        let Some(beacons) = self.0.beacons.clone() else { return };
        self.0.peer.spawn_until_stopped(|stop| run(self.clone(), beacons, stop));
    }

    /// Spawns a task that is dropped when the node stops.
    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Pins) -> F) {
        self.0.peer.spawn(work(self.clone()));
    }
}

/// Resumes unfinished work, checks deadlines, and audits when an epoch begins.
async fn run(pins: Pins, mut beacons: Beacons, stop: CancellationToken) {
    pins.0.deals.hosted().iter().for_each(|deal| deal.resume(&pins));
    let mut judged = None;
    loop {
        let latest = beacons.borrow_and_update().last_key_value().map(|(_, beacon)| *beacon);
        if let Some(beacon) = latest.filter(|beacon| judged != Some(beacon.epoch)) {
            judged = Some(beacon.epoch);
            pins.0
                .deals
                .owned()
                .iter()
                .for_each(|deal| deal.start_epoch(&pins, beacon));
            probe::start_probe(&pins, beacon);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beacons.changed() => (),
            () = tokio::time::sleep(TICK_EVERY) => (),
        }
        for deal in pins.0.deals.owned() {
            deal.tick(&pins).await;
        }
        for deal in pins.0.deals.hosted() {
            deal.tick(&pins).await;
        }
    }
}
