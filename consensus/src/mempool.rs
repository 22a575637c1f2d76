//! The mempool: transactions that wait for a block, checked, bounded and ordered.
//!
//! Transactions of one sender are ordered by nonce. Between senders the higher tip goes first, then the earlier
//! arrival. A full pool evicts the lowest tip. Left out: signatures, which are recovered before a transaction gets
//! here (crate `evm`, `pool_tx`), and gossip.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::{Account, Amount, TxHash};

use crate::execution::AccountState;

/// A decoded transaction whose sender was recovered from its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PooledTransaction {
    pub hash: TxHash,
    pub sender: Account,
    pub nonce: u64,
    pub gas_limit: u64,
    /// The most that it pays per unit of gas.
    pub fee_cap: u128,
    /// The most of `fee_cap` that goes to the proposer.
    pub tip_cap: u128,
    /// The most that it can take from the sender: value and gas.
    pub cost: Amount,
    /// The EIP-2718 encoding.
    pub raw: Arc<[u8]>,
}

impl PooledTransaction {
    /// The proposer's income per unit of gas at this base fee; `None` if the transaction does not pay the base fee.
    fn tip(&self, base_fee: u128) -> Option<u128> {
        self.fee_cap.checked_sub(base_fee).map(|left| left.min(self.tip_cap))
    }
}

/// Bounds of a mempool. At a bound a transaction is refused, or evicts one with a lower tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub transactions: usize,
    pub per_sender: usize,
    /// Bytes of all transactions together.
    pub bytes: usize,
    /// The least by which a replacement must raise both fee cap and tip cap, in percent.
    pub bump_percent: u32,
    /// The largest distance between a transaction's nonce and its sender's next one.
    pub nonce_ahead: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transactions: 20_000,
            per_sender: 1024,
            bytes: 64 << 20,
            bump_percent: 10,
            nonce_ahead: 4096,
        }
    }
}

/// Reason that the mempool refuses a transaction. The texts follow geth's, because wallets match on them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    #[error("already known")]
    Known,
    #[error("nonce too low: next nonce {expected}, tx nonce {found}")]
    NonceTooLow {
        /// The sender's next nonce.
        expected: u64,
        /// The transaction's nonce.
        found: u64,
    },
    #[error("nonce too high: next nonce {expected}, tx nonce {found}, at most {ahead} ahead are kept")]
    NonceTooHigh {
        /// The sender's next nonce.
        expected: u64,
        /// The transaction's nonce.
        found: u64,
        /// The largest distance allowed.
        ahead: u64,
    },
    #[error("insufficient funds for gas * price + value: balance {have}, tx cost {need}")]
    Funds {
        /// The sender's balance, in the smallest unit.
        have: u128,
        /// The most that the transaction can cost, in the smallest unit.
        need: u128,
    },
    /// A transaction with the same nonce is in the pool and this one does not pay enough more to replace it.
    #[error("replacement transaction underpriced: pay at least {need} per gas and as much tip")]
    Underpriced {
        /// The least fee cap that would replace it.
        need: u128,
    },
    /// The sender has as many transactions in the pool as [`Limits::per_sender`] allows.
    #[error("{0} transactions of this sender wait already; let some be included first")]
    SenderFull(usize),
    /// The pool is full, and every transaction in it pays at least this tip per unit of gas.
    #[error("the pool is full; a tip above {0} per gas would make room")]
    Full(u128),
}

#[derive(Clone, Debug)]
struct Entry {
    tx: PooledTransaction,
    /// Position in the order of arrival.
    order: u64,
}

/// The transactions that wait for a block. Never holds more than its [`Limits`].
///
/// ```
/// use consensus::{
///     execution::AccountState,
///     mempool::{Limits, Mempool, PoolError, PooledTransaction},
/// };
/// use protocol::{Account, Amount, TxHash};
///
/// let transaction = |nonce: u8, tip: u128| PooledTransaction {
///     hash: TxHash([nonce; 32]),
///     sender: Account([1; 20]),
///     nonce: nonce.into(),
///     gas_limit: 21_000,
///     fee_cap: 100 + tip,
///     tip_cap: tip,
///     cost: Amount(5_000),
///     raw: [nonce].into(),
/// };
/// let account = AccountState { nonce: 0, balance: Amount(1_000_000) };
/// let mut pool = Mempool::new(Limits::default());
/// pool.insert(transaction(0, 7), account)?;
/// pool.insert(transaction(2, 7), account)?;
///
/// // Nonce 1 is missing, so only nonce 0 can go into the next block.
/// assert_eq!(pool.best(100, 30_000_000, 1 << 20).len(), 1);
/// assert_eq!(pool.insert(transaction(0, 7), account), Err(PoolError::Known));
/// # Ok::<(), PoolError>(())
/// ```
#[derive(Debug, Default)]
pub struct Mempool {
    limits: Limits,
    senders: BTreeMap<Account, Sender>,
    by_hash: BTreeMap<TxHash, (Account, u64)>,
    /// Lowest tip first, and of equal tips the later arrival: the order of eviction.
    by_price: BTreeSet<(u128, std::cmp::Reverse<u64>, TxHash)>,
    bytes: usize,
    arrivals: u64,
}

#[derive(Debug, Default)]
struct Sender {
    /// The nonce that the sender's next included transaction has.
    next: u64,
    by_nonce: BTreeMap<u64, Entry>,
}

impl Mempool {
    /// An empty mempool with these bounds. Nothing but these bounds limits its memory.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The number of transactions in the pool, including those behind a nonce gap.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Returns true if no transaction is in the pool, not even one behind a nonce gap.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Bytes of all transactions in the pool, in EIP-2718 encoding.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns true if this transaction is in the pool.
    pub fn contains(&self, hash: &TxHash) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// The transaction with this hash, if it is in the pool.
    pub fn get(&self, hash: &TxHash) -> Option<&PooledTransaction> {
        let (sender, nonce) = self.by_hash.get(hash)?;
        Some(&self.senders[sender].by_nonce[nonce].tx)
    }

    /// All transactions by sender and nonce, each with true if the next block could include it (no nonce is missing
    /// before it).
    pub fn iter(&self) -> impl Iterator<Item = (&PooledTransaction, bool)> {
        self.senders.values().flat_map(|sender| {
            let mut next = sender.next;
            sender.by_nonce.values().map(move |entry| {
                let ready = entry.tx.nonce == next;
                next += u64::from(ready);
                (&entry.tx, ready)
            })
        })
    }

    /// Returns true if a transaction could go into the next block at this base fee.
    pub fn has_ready(&self, base_fee: u128) -> bool {
        self.senders.values().any(|sender| {
            sender
                .by_nonce
                .get(&sender.next)
                .is_some_and(|entry| entry.tx.tip(base_fee).is_some())
        })
    }

    /// The nonce that a wallet should use next for `account`; `None` if it has no transaction in the pool.
    pub fn next_nonce(&self, account: &Account) -> Option<u64> {
        let sender = self.senders.get(account)?;
        let ready = (sender.next..)
            .take_while(|nonce| sender.by_nonce.contains_key(nonce))
            .count();
        Some(sender.next + ready as u64)
    }

    /// Adds a transaction. `account` is the state of its sender at the tip. A transaction with the same sender and
    /// nonce is replaced if the new one pays enough more.
    pub fn insert(&mut self, tx: PooledTransaction, account: AccountState) -> Result<(), PoolError> {
        self.check(&tx, account)?;
        let old = self
            .senders
            .get(&tx.sender)
            .and_then(|sender| sender.by_nonce.get(&tx.nonce));
        if let Some(old) = old.map(|old| old.tx.hash) {
            self.remove(&old);
        }
        // After the old one is gone, so that a replacement never evicts a third transaction for its own place.
        self.make_room(&tx)?;

        self.bytes += tx.raw.len();
        self.by_hash.insert(tx.hash, (tx.sender, tx.nonce));
        self.by_price
            .insert((tx.tip_cap, std::cmp::Reverse(self.arrivals), tx.hash));
        let sender = self.senders.entry(tx.sender).or_default();
        sender.next = account.nonce;
        sender.by_nonce.insert(
            tx.nonce,
            Entry {
                tx,
                order: self.arrivals,
            },
        );
        self.arrivals += 1;
        self.assert_bounds();
        Ok(())
    }

    fn check(&self, tx: &PooledTransaction, account: AccountState) -> Result<(), PoolError> {
        if self.by_hash.contains_key(&tx.hash) {
            return Err(PoolError::Known);
        }
        let (expected, found) = (account.nonce, tx.nonce);
        if found < expected {
            return Err(PoolError::NonceTooLow { expected, found });
        }
        let ahead = self.limits.nonce_ahead;
        if found - expected > ahead {
            return Err(PoolError::NonceTooHigh { expected, found, ahead });
        }
        if tx.cost > account.balance {
            return Err(PoolError::Funds {
                have: account.balance.0,
                need: tx.cost.0,
            });
        }
        let Some(sender) = self.senders.get(&tx.sender) else {
            return Ok(());
        };
        if let Some(Entry { tx: old, .. }) = sender.by_nonce.get(&tx.nonce) {
            // Rounded up, so that a replacement of a cheap transaction pays at least one unit more.
            let bumped = |price: u128| price + (price * u128::from(self.limits.bump_percent)).div_ceil(100);
            let need = bumped(old.fee_cap);
            if tx.fee_cap < need || tx.tip_cap < bumped(old.tip_cap) {
                return Err(PoolError::Underpriced { need });
            }
        } else if sender.by_nonce.len() >= self.limits.per_sender {
            return Err(PoolError::SenderFull(sender.by_nonce.len()));
        }
        Ok(())
    }

    /// Evicts transactions with the lowest tip until `tx` fits. Fails if `tx` has the lowest tip itself.
    fn make_room(&mut self, tx: &PooledTransaction) -> Result<(), PoolError> {
        while self.len() >= self.limits.transactions || self.bytes + tx.raw.len() > self.limits.bytes {
            let Some(&(price, _, worst)) = self.by_price.first() else {
                return Err(PoolError::Full(0));
            };
            // Equal pay does not evict: a stream of equal transactions would otherwise churn the pool.
            if price >= tx.tip_cap {
                return Err(PoolError::Full(price));
            }
            self.remove(&worst);
        }
        Ok(())
    }

    /// The best paid transactions for a block on the tip, within this much gas and these many bytes. Nonces of each
    /// sender are in order and without gaps.
    pub fn best(&self, base_fee: u128, mut gas: u64, mut bytes: usize) -> Vec<Arc<[u8]>> {
        let head = |sender: &Account, nonce: u64| {
            let entry = self.senders[sender].by_nonce.get(&nonce)?;
            let tip = entry.tx.tip(base_fee)?;
            Some((tip, std::cmp::Reverse(entry.order), *sender, nonce))
        };
        // One transaction per sender, the next by nonce. Taking one adds the sender's following one.
        let mut heads: BTreeSet<_> = self
            .senders
            .iter()
            .filter_map(|(account, sender)| head(account, sender.next))
            .collect();
        let mut best = Vec::new();
        while let Some((_, _, sender, nonce)) = heads.pop_last() {
            let tx = &self.senders[&sender].by_nonce[&nonce].tx;
            if tx.gas_limit > gas || tx.raw.len() > bytes {
                // The next sender's may be smaller, but the later ones of this sender cannot go before it.
                continue;
            }
            gas -= tx.gas_limit;
            bytes -= tx.raw.len();
            best.push(tx.raw.clone());
            heads.extend(head(&sender, nonce + 1));
        }
        best
    }

    /// Drops the transactions that a committed block included, and all others of their senders whose nonces are
    /// used now.
    pub fn included(&mut self, included: &[(TxHash, Account, u64)]) {
        for (_, account, next) in included {
            let Some(sender) = self.senders.get_mut(account) else {
                continue;
            };
            sender.next = sender.next.max(*next);
            let used: Vec<_> = sender
                .by_nonce
                .range(..sender.next)
                .map(|(_, entry)| entry.tx.hash)
                .collect();
            used.iter().for_each(|hash| self.remove(hash));
        }
    }

    /// Drops transactions that no block can ever include, such as those that the builder rejected.
    pub fn forget(&mut self, hashes: &[TxHash]) {
        hashes.iter().for_each(|hash| self.remove(hash));
    }

    fn remove(&mut self, hash: &TxHash) {
        let Some((account, nonce)) = self.by_hash.remove(hash) else {
            return;
        };
        let sender = self
            .senders
            .get_mut(&account)
            .expect("a known transaction has a sender");
        let removed = sender
            .by_nonce
            .remove(&nonce)
            .expect("a known transaction has its nonce");
        self.bytes -= removed.tx.raw.len();
        self.by_price
            .remove(&(removed.tx.tip_cap, std::cmp::Reverse(removed.order), *hash));
        if sender.by_nonce.is_empty() {
            self.senders.remove(&account);
        }
    }

    fn assert_bounds(&self) {
        assert!(self.len() <= self.limits.transactions && self.bytes <= self.limits.bytes);
        assert_eq!(self.by_hash.len(), self.by_price.len());
    }
}

#[cfg(test)]
mod tests;
