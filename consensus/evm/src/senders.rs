//! A cache of transaction senders. Recovering a sender from its signature costs more than executing a transfer, so
//! it is done once.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use alloy_consensus::{
    TxEnvelope,
    transaction::{Recovered, SignerRecoverable},
};
use alloy_primitives::{Address, B256, map::B256Map};
use rayon::prelude::*;

/// Senders by transaction hash, shared between mempool and ledger. Holds two generations of entries: when the newer
/// one is full, the older one is dropped.
#[derive(Clone)]
pub struct SenderCache {
    halves: Arc<Mutex<Halves>>,
    half_max: usize,
}

#[derive(Default)]
struct Halves {
    new: B256Map<Address>,
    old: B256Map<Address>,
}

impl SenderCache {
    /// A cache of at most `max` senders, and of 2 if `max` is less.
    pub fn new(max: usize) -> Self {
        Self {
            halves: Arc::default(),
            half_max: (max / 2).max(1),
        }
    }

    /// The cached sender of a transaction. A miss does not mean that the transaction is invalid.
    pub fn get(&self, hash: &B256) -> Option<Address> {
        let halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.new.get(hash).or_else(|| halves.old.get(hash)).copied()
    }

    /// Adds a sender that was recovered or is known otherwise. The caller vouches for it.
    pub fn insert(&self, hash: B256, sender: Address) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        // Cheaper than a queue of uses, and senders of recent transactions stay cached.
        if halves.new.len() >= self.half_max {
            halves.old = std::mem::take(&mut halves.new);
        }
        halves.new.insert(hash, sender);
    }

    /// The number of cached senders.
    pub fn len(&self) -> usize {
        let halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.new.len() + halves.old.len()
    }

    /// Returns true if no sender is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Recovers the senders of these transactions, in parallel where they are not cached. An error is the position
    /// of a transaction whose signature is invalid.
    pub fn recover_all(&self, transactions: Vec<TxEnvelope>) -> Result<Vec<Recovered<TxEnvelope>>, usize> {
        transactions
            .into_par_iter()
            .enumerate()
            .map(|(index, transaction)| self.recover(transaction).ok_or(index))
            .collect::<Vec<_>>()
            .into_iter()
            .collect()
    }

    /// Recovers the sender of a transaction; `None` if its signature is invalid or has a high `s` (EIP-2).
    pub fn recover(&self, transaction: TxEnvelope) -> Option<Recovered<TxEnvelope>> {
        let hash = *transaction.tx_hash();
        if let Some(sender) = self.get(&hash) {
            return Some(Recovered::new_unchecked(transaction, sender));
        }
        let sender = transaction.recover_signer().ok()?;
        self.insert(hash, sender);
        Some(Recovered::new_unchecked(transaction, sender))
    }
}

impl Default for SenderCache {
    fn default() -> Self {
        Self::new(65_536)
    }
}

impl fmt::Debug for SenderCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderCache")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
