//! Blocks that were executed on the tip and are not decided yet.

use std::collections::BTreeMap;

use alloy_consensus::{Header, ReceiptEnvelope};
use alloy_primitives::B256;
use protocol::{Account, BlockHash, TxHash};

use crate::state::WorldState;

/// Most pending blocks. A height rarely needs more than a few; at the bound the oldest is dropped.
pub(crate) const PENDING_MAX: usize = 32;

/// An executed block. Committing it does not execute it again.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: Header,
    pub(crate) state: WorldState,
    pub(crate) receipts: Vec<ReceiptEnvelope>,
    /// Hash and sender of each transaction, and the nonce that the sender uses next.
    pub(crate) included: Vec<(TxHash, Account, u64)>,
}

impl Pending {
    pub(crate) fn transaction_hashes(&self) -> Vec<B256> {
        self.included.iter().map(|(hash, ..)| B256::from(hash.0)).collect()
    }
}

/// Pending blocks by hash.
#[derive(Debug, Default)]
pub(crate) struct PendingBlocks {
    blocks: BTreeMap<BlockHash, (u64, Pending)>,
    arrivals: u64,
}

impl PendingBlocks {
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

    /// Takes one block and drops the others: they are based on a tip that is about to be replaced.
    pub(crate) fn take(&mut self, hash: &BlockHash) -> Option<Pending> {
        let (_, pending) = self.blocks.remove(hash)?;
        self.blocks.clear();
        Some(pending)
    }
}
