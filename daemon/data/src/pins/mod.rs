//! Pins: copies that others keep for this node, and those that it keeps for others, audited every epoch.
//!
//! The machines decide; the shells here write down what they are told before they act. What is owed is counted and not
//! paid: payment is the chain's. Hosts are audited by the owner of the deal.

mod ask;
mod deals;
mod desk;
mod error;
mod metrics;
mod hosted;
mod note;
mod owner;
mod probe;
mod renew;
#[cfg(test)]
mod tests;
mod told;
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

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The latest beacons by epoch, as the chain gives them.
pub type Beacons = watch::Receiver<BTreeMap<u64, Beacon>>;

/// Copies here and with others. Clones are the same.
#[derive(Clone)]
pub struct Pins(Arc<Parts>);

/// What pins stand on.
pub(crate) struct Parts {
    pub(crate) peer: Peer,
    pub(crate) public: PublicStore,
    pub(crate) announcements: Announcements,
    pub(crate) datanets: Datanets,
    pub(crate) library: Library,
    pub(crate) deals: Deals,
    /// What the chain says about audits; none without one.
    pub(crate) beacons: Option<Beacons>,
}

impl Pins {
    /// The pins of a home.
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Answers other nodes, takes up what was left, and audits, until the node ends.
    pub(crate) fn start(&self) {
        self.0.peer.answer(desk::desk(self));
        let Some(beacons) = self.0.beacons.clone() else { return };
        self.0.peer.keep(|stop| keep(self.clone(), beacons, stop));
    }

    /// Begins something that is cut off when the node ends.
    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Pins) -> F) {
        self.0.peer.spawn(work(self.clone()));
    }
}

/// Takes up what was left, does what is due, and audits when an epoch begins.
async fn keep(pins: Pins, mut beacons: Beacons, stop: CancellationToken) {
    pins.0.deals.hosted().iter().for_each(|deal| deal.begin(&pins));
    let mut judged = None;
    loop {
        let latest = beacons.borrow_and_update().last_key_value().map(|(_, beacon)| *beacon);
        if let Some(beacon) = latest.filter(|beacon| judged != Some(beacon.epoch)) {
            judged = Some(beacon.epoch);
            pins.0.deals.owned().iter().for_each(|deal| deal.epoch(&pins, beacon));
            probe::now_and_then(&pins, beacon);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beacons.changed() => (),
            () = tokio::time::sleep(LOOK_EVERY) => (),
        }
        for deal in pins.0.deals.owned() {
            deal.tick(&pins).await;
        }
        for deal in pins.0.deals.hosted() {
            deal.tick(&pins).await;
        }
    }
}
