//! Pins: copies that others keep for this node, and those that it keeps for others, audited every epoch.
//!
//! The machines decide; the shells here write down what they are told before they act. What is owed is counted and not
//! paid: payment is the chain's. Hosts are audited by the owner of the deal.

mod ask;

mod desk;
mod figures;
mod hosted;
mod note;
mod owner;
mod probe;
mod renew;
#[cfg(test)]
mod tests;
mod verify;
mod view;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{
    Amount, DatanetId, NodeId,
    crypto::{Domain, SecretKey},
    machine::{Appetite, DealId},
    proof::Beacon,
};
use storage::disk::free_bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The latest beacons by epoch, as the chain gives them.
pub type Beacons = watch::Receiver<BTreeMap<u64, Beacon>>;

pub(super) use desk::desk;
pub use figures::Figures;

use self::{hosted::Hosted, owner::Owned};
use super::{Data, notes::NoteError};
use base::{home::Home, report::Kind};

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The shortest time in which this node promises to answer.
const ANSWER_WITHIN_MS: u64 = 500;

/// Why something about a pin was not done.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It could not be remembered.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The folder of deals cannot be read.
    #[error("could not read {}", path.display())]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What was asked for cannot be meant.
    #[error("`{field}`: {what}")]
    Ask {
        /// The argument.
        field: &'static str,
        /// What is wrong with it and what would be right.
        what: String,
    },
    /// There are no such pins.
    #[error("{root:#} is not pinned here; `openledger pin ls` shows what is")]
    Absent {
        /// The dataset.
        root: protocol::BlobHash,
    },
    /// There is nothing to renew.
    #[error(
        "no deal of this node about {root:#} runs; `openledger pin add {root} --copies N` makes one, and a dataset that is \
         kept here only needs no renewal"
    )]
    NoDeal {
        /// The dataset.
        root: protocol::BlobHash,
    },
    /// Copies of what only members may read.
    #[error("{root:#} belongs to datanet {datanet:#}, whose members alone may keep it; they pin it themselves")]
    Sealed {
        /// The dataset.
        root: protocol::BlobHash,
        /// The datanet.
        datanet: DatanetId,
    },
    /// Somebody does not have what it should have.
    #[error("{}", .0.join("; "))]
    Unverified(Vec<String>),
    /// A peer did not answer.
    #[error("node {node:#} did not answer")]
    Peer {
        /// Who.
        node: NodeId,
        /// Why.
        #[source]
        source: super::talk::TalkError,
    },
}

impl PinError {
    /// What kind of failure it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Note(_) | Self::Folder { .. } => Kind::Failed,
            Self::Ask { .. } => Kind::Usage,
            Self::Absent { .. } | Self::NoDeal { .. } => Kind::NotFound,
            Self::Sealed { .. } => Kind::Denied,
            Self::Unverified(_) => Kind::Unverified,
            Self::Peer { .. } => Kind::Timeout,
        }
    }
}

/// All deals of a node.
pub(crate) struct Pins {
    home: Home,
    /// What it takes for others.
    host: u64,
    price_per_gib: Amount,
    /// Blocks of an epoch.
    pub(super) audit_blocks: u32,
    owned: Mutex<BTreeMap<DealId, Arc<Owned>>>,
    hosted: Mutex<BTreeMap<DealId, Arc<Hosted>>>,
    /// Verdicts since the start.
    tally: figures::Tally,
    /// One offer is weighed at a time, so that room is promised once.
    pub(super) weighing: tokio::sync::Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pins {
    /// Every deal that is remembered in a home.
    pub(super) fn open(home: &Home, config: &config::Config, me: NodeId) -> Result<Self, PinError> {
        let (mut owned, mut hosted) = (BTreeMap::new(), BTreeMap::new());
        for folder in folders(&home.deals().join("own"))? {
            if let Some(deal) = Owned::read(&folder)? {
                owned.insert(deal.id, Arc::new(deal));
            }
        }
        for folder in folders(&home.deals().join("hosted"))? {
            if let Some(deal) = Hosted::read(&folder, me)? {
                hosted.insert(deal.id, Arc::new(deal));
            }
        }
        let price = config.data.host_price.parse();
        let price = price.map_err(|wrong: protocol::unit::ParseAmountError| PinError::Ask {
            field: "data.host_price",
            what: wrong.to_string(),
        })?;
        Ok(Self {
            home: home.clone(),
            host: config.data.host.0,
            price_per_gib: price,
            audit_blocks: config.data.audit_blocks,
            owned: Mutex::new(owned),
            hosted: Mutex::new(hosted),
            tally: figures::Tally::default(),
            weighing: tokio::sync::Mutex::default(),
        })
    }

    fn owned(&self) -> Vec<Arc<Owned>> {
        locked(&self.owned).values().cloned().collect()
    }

    fn hosted(&self) -> Vec<Arc<Hosted>> {
        locked(&self.hosted).values().cloned().collect()
    }

    fn own(&self, id: DealId) -> Option<Arc<Owned>> {
        locked(&self.owned).get(&id).cloned()
    }

    fn host(&self, id: DealId) -> Option<Arc<Hosted>> {
        locked(&self.hosted).get(&id).cloned()
    }

    fn hosted_gone(&self, id: DealId) {
        locked(&self.hosted).remove(&id);
    }

    /// What so many copies cost for so long.
    fn escrow(&self, price: Amount, copies: u16, life_ms: u64) -> Amount {
        // Blocks come no faster than one a second when nothing happens; under load the escrow is spent earlier.
        let epochs = u128::from(life_ms / 1000 / u64::from(self.audit_blocks.max(1)) + 1);
        Amount(price.0.saturating_mul(u128::from(copies)).saturating_mul(epochs))
    }

    /// What may still be promised, and for how much.
    fn appetite(&self) -> Appetite {
        let promised: u64 = self.hosted().iter().map(|deal| deal.deal.bytes()).sum();
        let disk = free_bytes(self.home.root()).unwrap_or(0);
        Appetite {
            free: self.host.saturating_sub(promised).min(disk),
            price_per_gib: self.price_per_gib,
            answer_within_ms: ANSWER_WITHIN_MS,
        }
    }
}

fn folders(dir: &Path) -> Result<Vec<std::path::PathBuf>, PinError> {
    let failed = |source| PinError::Folder {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(paths
        .map_err(failed)?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect())
}

impl Data {
    pub(super) fn pins(&self) -> &Pins {
        &self.0.pins
    }

    /// Begins something that ends with the node.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Data) -> F) {
        let Some(network) = &self.0.network else { return };
        let (stop, work) = (network.stop.clone(), work(self.clone()));
        network.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => (),
                () = work => (),
            }
        });
    }

    fn key(&self) -> (&SecretKey, &Domain) {
        let network = self
            .0
            .network
            .as_ref()
            .expect("deals are worked on while the node runs");
        (&network.key, &network.domain)
    }

    fn domain(&self) -> Domain {
        *self.key().1
    }

    fn sign<T: protocol::crypto::Preimage>(&self, message: T) -> protocol::crypto::Signed<T> {
        let (key, domain) = self.key();
        protocol::crypto::Signed::new(message, key, domain)
    }

    /// Connected peers.
    fn peers(&self) -> Vec<NodeId> {
        let network = self.0.network.iter();
        network
            .flat_map(|network| network.net.peers())
            .map(|peer| peer.id)
            .filter(|id| *id != self.0.me)
            .collect()
    }
}

/// Takes up what was left, does what is due, and audits when an epoch begins.
pub(super) async fn keep(data: Data, mut beacons: Beacons, stop: CancellationToken) {
    data.pins().hosted().iter().for_each(|deal| deal.begin(&data));
    let mut judged = None;
    loop {
        let latest = beacons.borrow_and_update().last_key_value().map(|(_, beacon)| *beacon);
        if let Some(beacon) = latest.filter(|beacon| judged != Some(beacon.epoch)) {
            judged = Some(beacon.epoch);
            data.pins().owned().iter().for_each(|deal| deal.epoch(&data, beacon));
            probe::now_and_then(&data, beacon);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beacons.changed() => (),
            () = tokio::time::sleep(LOOK_EVERY) => (),
        }
        for deal in data.pins().owned() {
            deal.tick(&data).await;
        }
        for deal in data.pins().hosted() {
            deal.tick(&data).await;
        }
    }
}
