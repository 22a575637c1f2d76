//! Transactions that wait: checked, bounded, ordered. Which come first, which give way, which never come in.
//!
//! Per sender they stand in the order of their nonces; between senders the better paid goes first, then the earlier.
//! Signatures are recovered before a transaction gets here; what it does is nobody's business here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::{Account, Amount, TxHash};

use crate::execution::AccountState;

/// A transaction whose sender is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooled {
    /// Its name.
    pub hash: TxHash,
    /// Who signed it.
    pub sender: Account,
    /// Its place in the sender's order.
    pub nonce: u64,
    /// Gas it may use.
    pub gas_limit: u64,
    /// Most it pays per gas.
    pub fee_cap: u128,
    /// Most of that which goes to the proposer.
    pub tip_cap: u128,
    /// The most it can take from the sender: value and gas.
    pub cost: Amount,
    /// Its EIP-2718 bytes.
    pub raw: Arc<[u8]>,
}

impl Pooled {
    /// What its proposer earns per gas at this base fee; `None` if it does not pay the base fee.
    fn tip(&self, base_fee: u128) -> Option<u128> {
        self.fee_cap.checked_sub(base_fee).map(|left| left.min(self.tip_cap))
    }
}

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transactions in all.
    pub transactions: usize,
    /// Transactions of one sender.
    pub per_sender: usize,
    /// Bytes in all.
    pub bytes: usize,
    /// How much more a replacement pays, in percent.
    pub bump_percent: u32,
    /// How far ahead of its sender's account a nonce may lie.
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

/// Why a transaction does not come in. Each says what would have to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It is here already.
    #[error("already known")]
    Known,
    /// Its nonce was used.
    #[error("nonce too low: next nonce {expected}, tx nonce {found}")]
    NonceTooLow {
        /// The nonce to use.
        expected: u64,
        /// The nonce it has.
        found: u64,
    },
    /// Its nonce is far in the future.
    #[error("nonce too high: next nonce {expected}, tx nonce {found}, at most {ahead} ahead are kept")]
    NonceTooHigh {
        /// The nonce to use.
        expected: u64,
        /// The nonce it has.
        found: u64,
        /// How far ahead it may lie.
        ahead: u64,
    },
    /// The sender cannot pay for it.
    #[error("insufficient funds for gas * price + value: balance {have}, tx cost {need}")]
    Funds {
        /// What the sender has, in the smallest unit.
        have: u128,
        /// What it could cost, in the smallest unit.
        need: u128,
    },
    /// Another with this nonce waits and pays as much.
    #[error("replacement transaction underpriced: pay at least {need} per gas and as much tip")]
    Underpriced {
        /// The fee cap that would do.
        need: u128,
    },
    /// The sender has too many waiting.
    #[error("{0} transactions of this sender wait already; let some be included first")]
    SenderFull(usize),
    /// The pool is full of better paid ones.
    #[error("the pool is full; a tip above {0} per gas would make room")]
    Full(u128),
}

#[derive(Clone, Debug)]
struct Waiting {
    tx: Pooled,
    /// When it came, counted.
    order: u64,
}

/// The transactions that wait.
#[derive(Debug, Default)]
pub struct Mempool {
    limits: Limits,
    senders: BTreeMap<Account, Sender>,
    by_hash: BTreeMap<TxHash, (Account, u64)>,
    /// Worst paid first, later before earlier: who gives way when it is full.
    by_price: BTreeSet<(u128, std::cmp::Reverse<u64>, TxHash)>,
    bytes: usize,
    arrivals: u64,
}

#[derive(Debug, Default)]
struct Sender {
    /// The nonce that its account uses next.
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

impl Mempool {
    /// An empty pool.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// The bytes of all that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it waits here.
    pub fn contains(&self, hash: &TxHash) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// A transaction that waits.
    pub fn get(&self, hash: &TxHash) -> Option<&Pooled> {
        let (sender, nonce) = self.by_hash.get(hash)?;
        Some(&self.senders[sender].waiting[nonce].tx)
    }

    /// All that wait, by sender and nonce, with whether each could go into the next block.
    pub fn iter(&self) -> impl Iterator<Item = (&Pooled, bool)> {
        self.senders.values().flat_map(|sender| {
            let mut next = sender.next;
            sender.waiting.values().map(move |one| {
                let ready = one.tx.nonce == next;
                next += u64::from(ready);
                (&one.tx, ready)
            })
        })
    }

    /// Whether any could go into the next block.
    pub fn has_ready(&self, base_fee: u128) -> bool {
        self.senders.values().any(|sender| {
            sender
                .waiting
                .get(&sender.next)
                .is_some_and(|one| one.tx.tip(base_fee).is_some())
        })
    }

    /// The nonce a wallet should use next for `account`, if it has anything waiting.
    pub fn next_nonce(&self, account: &Account) -> Option<u64> {
        let sender = self.senders.get(account)?;
        let ready = (sender.next..)
            .take_while(|nonce| sender.waiting.contains_key(nonce))
            .count();
        Some(sender.next + ready as u64)
    }

    /// Takes a transaction in. `account` is its sender at the tip.
    pub fn insert(&mut self, tx: Pooled, account: AccountState) -> Result<(), PoolError> {
        self.check(&tx, account)?;
        let old = self
            .senders
            .get(&tx.sender)
            .and_then(|sender| sender.waiting.get(&tx.nonce));
        if let Some(old) = old.map(|old| old.tx.hash) {
            self.remove(&old);
        }
        self.make_room(&tx)?;

        self.bytes += tx.raw.len();
        self.by_hash.insert(tx.hash, (tx.sender, tx.nonce));
        self.by_price
            .insert((tx.tip_cap, std::cmp::Reverse(self.arrivals), tx.hash));
        let sender = self.senders.entry(tx.sender).or_default();
        sender.next = account.nonce;
        sender.waiting.insert(
            tx.nonce,
            Waiting {
                tx,
                order: self.arrivals,
            },
        );
        self.arrivals += 1;
        self.assert_bounds();
        Ok(())
    }

    fn check(&self, tx: &Pooled, account: AccountState) -> Result<(), PoolError> {
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
        if let Some(Waiting { tx: old, .. }) = sender.waiting.get(&tx.nonce) {
            let bumped = |price: u128| price + (price * u128::from(self.limits.bump_percent)).div_ceil(100);
            let need = bumped(old.fee_cap);
            if tx.fee_cap < need || tx.tip_cap < bumped(old.tip_cap) {
                return Err(PoolError::Underpriced { need });
            }
        } else if sender.waiting.len() >= self.limits.per_sender {
            return Err(PoolError::SenderFull(sender.waiting.len()));
        }
        Ok(())
    }

    /// Evicts the worst paid until `tx` fits; refuses it if it is itself the worst paid.
    fn make_room(&mut self, tx: &Pooled) -> Result<(), PoolError> {
        while self.len() >= self.limits.transactions || self.bytes + tx.raw.len() > self.limits.bytes {
            let Some(&(price, _, worst)) = self.by_price.first() else {
                return Err(PoolError::Full(0));
            };
            if price >= tx.tip_cap {
                return Err(PoolError::Full(price));
            }
            self.remove(&worst);
        }
        Ok(())
    }

    /// The best transactions for a block on the tip, nonces in order, within the gas and bytes it has.
    pub fn best(&self, base_fee: u128, mut gas: u64, mut bytes: usize) -> Vec<Arc<[u8]>> {
        let head = |sender: &Account, nonce: u64| {
            let one = self.senders[sender].waiting.get(&nonce)?;
            let tip = one.tx.tip(base_fee)?;
            Some((tip, std::cmp::Reverse(one.order), *sender, nonce))
        };
        let mut heads: BTreeSet<_> = self
            .senders
            .iter()
            .filter_map(|(account, sender)| head(account, sender.next))
            .collect();
        let mut best = Vec::new();
        while let Some((_, _, sender, nonce)) = heads.pop_last() {
            let tx = &self.senders[&sender].waiting[&nonce].tx;
            if tx.gas_limit > gas || tx.raw.len() > bytes {
                // The next one may be smaller, but this sender's later ones cannot go before it.
                continue;
            }
            gas -= tx.gas_limit;
            bytes -= tx.raw.len();
            best.push(tx.raw.clone());
            heads.extend(head(&sender, nonce + 1));
        }
        best
    }

    /// A block was committed: forgets what it included and everything its senders can no longer use.
    pub fn included(&mut self, included: &[(TxHash, Account, u64)]) {
        for (_, account, next) in included {
            let Some(sender) = self.senders.get_mut(account) else {
                continue;
            };
            sender.next = sender.next.max(*next);
            let used: Vec<_> = sender
                .waiting
                .range(..sender.next)
                .map(|(_, one)| one.tx.hash)
                .collect();
            used.iter().for_each(|hash| self.remove(hash));
        }
    }

    /// Forgets transactions that can never be included.
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
        let gone = sender.waiting.remove(&nonce).expect("a known transaction waits");
        self.bytes -= gone.tx.raw.len();
        self.by_price
            .remove(&(gone.tx.tip_cap, std::cmp::Reverse(gone.order), *hash));
        if sender.waiting.is_empty() {
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
