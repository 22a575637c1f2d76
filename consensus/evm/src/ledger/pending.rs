//! Blocks that were executed on the tip and wait for a decision.

use std::collections::BTreeMap;

use alloy_consensus::{Header, ReceiptEnvelope};
use alloy_primitives::B256;
use protocol::{Account, BlockHash, TxHash};

use crate::state::WorldState;

/// How many wait at most. A round decides about one proposal and rarely takes more than a few; the oldest goes first.
pub(crate) const PENDING_MAX: usize = 32;

/// An executed block: committing it does not execute it again.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: Header,
    pub(crate) state: WorldState,
    pub(crate) receipts: Vec<ReceiptEnvelope>,
    /// Transactions with their senders and the nonce that each uses next.
    pub(crate) included: Vec<(TxHash, Account, u64)>,
}

impl Pending {
    pub(crate) fn transaction_hashes(&self) -> Vec<B256> {
        self.included.iter().map(|(hash, ..)| B256::from(hash.0)).collect()
    }
}

/// The blocks that wait, by name.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    blocks: BTreeMap<BlockHash, (u64, Pending)>,
    arrivals: u64,
}

impl Waiting {
    pub(crate) fn get(&self, hash: &BlockHash) -> Option<&Pending> {
        self.blocks.get(hash).map(|(_, pending)| pending)
    }

    pub(crate) fn insert(&mut self, hash: BlockHash, pending: Pending) {
        self.arrivals += 1;
        self.blocks.insert(hash, (self.arrivals, pending));
        if self.blocks.len() > PENDING_MAX {
            let oldest = self
                .blocks
                .iter()
                .min_by_key(|(_, (arrival, _))| *arrival)
                .map(|(hash, _)| *hash);
            self.blocks.remove(&oldest.expect("more than PENDING_MAX wait"));
        }
    }

    /// Takes one and forgets the others: they stand on a tip that is about to be replaced.
    pub(crate) fn take(&mut self, hash: &BlockHash) -> Option<Pending> {
        let (_, pending) = self.blocks.remove(hash)?;
        self.blocks.clear();
        Some(pending)
    }
}
