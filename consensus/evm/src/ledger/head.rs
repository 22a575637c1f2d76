//! The tip of the chain, shared between threads.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use alloy_consensus::Header;
use alloy_primitives::B256;

/// Block hashes that `BLOCKHASH` can reach, as on Ethereum.
pub(crate) const ANCESTORS_MAX: usize = 256;

/// The last committed block, and the hashes of up to 256 blocks ending with it.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) header: Arc<Header>,
    pub(crate) hash: B256,
    pub(crate) ancestors: Arc<BTreeMap<u64, B256>>,
}

impl Head {
    /// The head after this block is committed.
    pub(crate) fn next(&self, header: Header, hash: B256) -> Self {
        let mut ancestors = BTreeMap::clone(&self.ancestors);
        ancestors.insert(header.number, hash);
        while ancestors.len() > ANCESTORS_MAX {
            ancestors.pop_first();
        }
        Self {
            header: Arc::new(header),
            hash,
            ancestors: Arc::new(ancestors),
        }
    }
}

/// A head that the ledger writes and views read.
#[derive(Clone, Debug)]
pub(crate) struct SharedHead(Arc<RwLock<Head>>);

impl SharedHead {
    pub(crate) fn new(head: Head) -> Self {
        Self(Arc::new(RwLock::new(head)))
    }

    pub(crate) fn get(&self) -> Head {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, head: Head) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = head;
    }
}
