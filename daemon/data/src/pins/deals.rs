//! All deals of a node: those it owns and those it hosts, read from its home at start.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use protocol::{
    Amount, NodeId,
    machine::{DealId, HostTerms},
};
use storage::disk::free_bytes;

use super::{PinError, hosted::Hosted, metrics::Tally, owner::Owned};
use base::{argument::InvalidArgument, home::Home, lock};

/// Shortest answer time of a deal that this node accepts as a host.
const ANSWER_WITHIN_MS: u64 = 500;

/// All deals of a node.
pub(crate) struct Deals {
    home: Home,
    /// Bytes that this node offers to keep for others.
    host: u64,
    price_per_gib: Amount,
    audit_blocks: u32,
    owned: Mutex<BTreeMap<DealId, Arc<Owned>>>,
    hosted: Mutex<BTreeMap<DealId, Arc<Hosted>>>,
    pub(super) tally: Tally,
    /// Held while an offer is considered, so that the same free space is not promised twice.
    pub(super) weighing: tokio::sync::Mutex<()>,
}

impl Deals {
    /// Reads all deals of a home.
    pub(crate) fn open(home: &Home, config: &config::Config, me: NodeId) -> Result<Self, PinError> {
        let (mut owned, mut hosted) = (BTreeMap::new(), BTreeMap::new());
        for folder in folders(home.deals().join("own"))? {
            if let Some(deal) = Owned::read(&folder)? {
                owned.insert(deal.id, Arc::new(deal));
            }
        }
        for folder in folders(home.deals().join("hosted"))? {
            if let Some(deal) = Hosted::read(&folder, me)? {
                hosted.insert(deal.id, Arc::new(deal));
            }
        }
        let price = config.data.host_price.parse();
        let price =
            price.map_err(|wrong: protocol::unit::ParseAmountError| InvalidArgument::new("data.host_price", wrong))?;
        Ok(Self {
            home: home.clone(),
            host: config.data.host.0,
            price_per_gib: price,
            audit_blocks: config.data.audit_blocks,
            owned: Mutex::new(owned),
            hosted: Mutex::new(hosted),
            tally: Tally::default(),
            weighing: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn owned(&self) -> Vec<Arc<Owned>> {
        lock::locked(&self.owned).values().cloned().collect()
    }

    pub(super) fn hosted(&self) -> Vec<Arc<Hosted>> {
        lock::locked(&self.hosted).values().cloned().collect()
    }

    pub(super) fn own(&self, id: DealId) -> Option<Arc<Owned>> {
        lock::locked(&self.owned).get(&id).cloned()
    }

    pub(super) fn host(&self, id: DealId) -> Option<Arc<Hosted>> {
        lock::locked(&self.hosted).get(&id).cloned()
    }

    pub(super) fn add_own(&self, deal: Arc<Owned>) {
        lock::locked(&self.owned).insert(deal.id, deal);
    }

    pub(super) fn add_hosted(&self, deal: Arc<Hosted>) {
        lock::locked(&self.hosted).insert(deal.id, deal);
    }

    pub(super) fn hosted_gone(&self, id: DealId) {
        lock::locked(&self.hosted).remove(&id);
    }

    /// Folder of a deal that this node owns.
    pub(super) fn own_folder(&self, id: DealId) -> PathBuf {
        self.home.deals().join("own").join(hex::encode(id.0))
    }

    /// Folder of a deal that this node hosts.
    pub(super) fn hosted_folder(&self, id: DealId) -> PathBuf {
        self.home.deals().join("hosted").join(hex::encode(id.0))
    }

    /// Cost of the copies for their whole time.
    pub(super) fn escrow(&self, price: Amount, copies: u16, life_ms: u64) -> Amount {
        // Assumes one block per second, the pace of an idle chain. Under load the escrow is spent earlier.
        let epochs = u128::from(life_ms / 1000 / u64::from(self.audit_blocks.max(1)) + 1);
        Amount(price.0.saturating_mul(u128::from(copies)).saturating_mul(epochs))
    }

    /// Free space that may still be promised to others, and the price.
    pub(super) fn host_terms(&self) -> HostTerms {
        let promised: u64 = self.hosted().iter().map(|deal| deal.deal.bytes()).sum();
        let disk = free_bytes(self.home.root()).unwrap_or(0);
        HostTerms {
            free: self.host.saturating_sub(promised).min(disk),
            price_per_gib: self.price_per_gib,
            answer_within_ms: ANSWER_WITHIN_MS,
        }
    }
}

fn folders(path: PathBuf) -> Result<Vec<PathBuf>, PinError> {
    base::home::folders(&path).map_err(|source| PinError::Folder { path, source })
}
