//! The world state: a trie of accounts, a storage trie per account, and code by hash. There is no second table of
//! accounts beside the tries.
//!
//! A [`WorldState`] is a snapshot: immutable, cheap to clone, and readable from any thread while later blocks are
//! committed. [`WorldState::apply`] makes the next one from the changes of a block, and [`StateStore`] stores it.
//! Nodes that a snapshot does not have in memory are read by path *as of its height* and checked by hash, so it
//! gives the right answer or an error.

mod apply;
mod db;
mod flush;
mod history;
mod kv;
mod layout;
mod reader;
mod store;
mod tries;

use std::{collections::BTreeMap, fmt, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, KECCAK_EMPTY, Nibbles, TrieAccount};
use revm::bytecode::Bytecode;

use crate::trie::{NoNodes, NodeError, NodeSource, SourceError, Trie};
pub use db::StateDb;
pub use kv::{Kv, KvError, MemKv, Pair, Row};
pub use layout::Applied;
pub use reader::{AtError, StateReader};
pub use store::{BlockId, CommitError, FlushError, OpenError, Options, StateStore};
use tries::StorageTries;

/// Reason that the state cannot be read: a pruned height, or damage to the database. It never means that an account
/// is absent.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("could not read the account trie")]
    Accounts(#[source] NodeError),
    #[error("could not read the storage of the account with hash {owner}")]
    Storage {
        /// The keccak hash of the account's address.
        owner: B256,
        #[source]
        source: NodeError,
    },
    /// The value under a key does not decode.
    #[error("malformed value at the hashed key {key}")]
    Value {
        /// The keccak hash of the address or of the slot.
        key: B256,
        #[source]
        source: alloy_rlp::Error,
    },
    /// The account has code that is not stored completely.
    #[error("the code {0} is missing or damaged")]
    Code(B256),
    #[error("could not read code {hash}")]
    Database {
        hash: B256,
        #[source]
        source: KvError,
    },
    /// A contract asked for the hash of a block that this node does not know.
    #[error("the hash of block {0} is not known here")]
    BlockHash(u64),
}

/// A Merkle proof of an account and some of its slots, as `eth_getProof` returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountProof {
    /// `None` if the proof is one of absence.
    pub account: Option<TrieAccount>,
    /// Trie nodes from the state root to the account.
    pub proof: Vec<Bytes>,
    /// In the order in which the slots were requested.
    pub slots: Vec<SlotProof>,
}

/// A Merkle proof of one slot, of presence or of absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotProof {
    pub slot: U256,
    /// Zero if the slot was never set.
    pub value: U256,
    /// Trie nodes from the account's storage root to the slot.
    pub proof: Vec<Bytes>,
}

/// The state after one block: an immutable snapshot, cheap to clone and safe to read from any thread.
///
/// ```
/// use alloy_genesis::GenesisAccount;
/// use alloy_primitives::{Address, U256};
/// use evm::{
///     alloc,
///     state::{MemKv, Options, StateStore},
/// };
///
/// let (store, address) = (StateStore::open(MemKv::default(), Options::default())?, Address::repeat_byte(1));
/// let account = GenesisAccount::default().with_balance(U256::from(5));
/// let before = store.tip();
/// let after = before.apply(&alloc::creation(&[(address, account)].into()))?;
///
/// assert_eq!(after.account(&address)?.unwrap().balance, U256::from(5));
/// assert!(before.account(&address)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct WorldState {
    /// Height of the last committed block below or at this state; `None` before the first.
    committed: Option<u64>,
    /// True for the state of a committed block, false for a proposal on top of one.
    is_committed: bool,
    /// Root of the state to which the block was applied.
    parent: B256,
    accounts: Trie,
    rows: Arc<dyn Rows>,
    /// Storage tries of committed accounts, shared between snapshots.
    tries: Arc<StorageTries>,
    /// Storage tries that differ from the last committed state.
    changed: Arc<BTreeMap<B256, Trie>>,
    /// Code that is newer than the last committed state.
    codes: Arc<BTreeMap<B256, Bytecode>>,
}

/// The database rows as a snapshot reads them.
trait Rows: fmt::Debug + Send + Sync {
    /// A node of the account trie, or of the storage trie of `owner`.
    fn node(&self, owner: Option<&B256>, path: &Nibbles) -> Result<Option<Bytes>, SourceError>;

    /// Code by its hash, checked against it.
    fn code(&self, hash: &B256) -> Result<Option<Bytecode>, StateError>;
}

/// The rows of one trie.
#[derive(Debug)]
struct TrieRows {
    rows: Arc<dyn Rows>,
    owner: Option<B256>,
}

impl NodeSource for TrieRows {
    fn node(&self, path: &Nibbles) -> Result<Option<Bytes>, SourceError> {
        self.rows.node(self.owner.as_ref(), path)
    }
}

impl WorldState {
    /// The state with this root, read from `rows`.
    fn open(root: B256, committed: Option<u64>, rows: Arc<dyn Rows>) -> Self {
        let source = Arc::new(TrieRows {
            rows: rows.clone(),
            owner: None,
        });
        Self {
            committed,
            is_committed: true,
            parent: root,
            accounts: Trie::from_root(root, source),
            rows,
            tries: Arc::default(),
            changed: Arc::default(),
            codes: Arc::default(),
        }
    }

    /// The height of the state's block; `None` before it is committed.
    pub fn height(&self) -> Option<u64> {
        self.committed.filter(|_| self.is_committed)
    }

    /// The state root, as a header contains it.
    pub fn root(&self) -> B256 {
        self.accounts.root()
    }

    /// An account; `None` if it does not exist. An account that is empty by EIP-161 does not exist.
    pub fn account(&self, address: &Address) -> Result<Option<TrieAccount>, StateError> {
        self.account_at(&keccak256(address))
    }

    /// The value of a slot: zero if it was never set or the account does not exist.
    pub fn storage(&self, address: &Address, slot: U256) -> Result<U256, StateError> {
        let owner = keccak256(address);
        match self.account_at(&owner)? {
            None => Ok(U256::ZERO),
            Some(account) => slot_value(&owner, &self.storage_trie(owner, account.storage_root), slot),
        }
    }

    /// Code by its hash; `None` if there is none.
    pub fn code(&self, hash: &B256) -> Result<Option<Bytes>, StateError> {
        Ok(self.bytecode(hash)?.map(|code| code.original_bytes()))
    }

    /// Proves an account, present or absent, and some of its slots.
    pub fn prove(&self, address: &Address, slots: &[U256]) -> Result<AccountProof, StateError> {
        let owner = keccak256(address);
        let account = self.account_at(&owner)?;
        let trie = self.storage_trie(
            owner,
            account.as_ref().map_or(EMPTY_ROOT_HASH, |account| account.storage_root),
        );
        let slots = slots.iter().map(|&slot| {
            let proof = trie.prove(keccak256(B256::from(slot)).as_slice());
            let proof = proof.map_err(|source| StateError::Storage { owner, source })?;
            Ok(SlotProof {
                slot,
                value: slot_value(&owner, &trie, slot)?,
                proof,
            })
        });
        Ok(AccountProof {
            slots: slots.collect::<Result<_, StateError>>()?,
            proof: self.accounts.prove(owner.as_slice()).map_err(StateError::Accounts)?,
            account,
        })
    }

    /// Analysed code by its hash.
    fn bytecode(&self, hash: &B256) -> Result<Option<Bytecode>, StateError> {
        // Accounts without code have this hash, and nothing is stored for it.
        if *hash == KECCAK_EMPTY {
            return Ok(Some(Bytecode::default()));
        }
        match self.codes.get(hash) {
            Some(code) => Ok(Some(code.clone())),
            None => self.rows.code(hash),
        }
    }

    fn account_at(&self, owner: &B256) -> Result<Option<TrieAccount>, StateError> {
        let row = self.accounts.get(owner.as_slice()).map_err(StateError::Accounts)?;
        let decode = |row: Bytes| alloy_rlp::decode_exact(&row);
        row.map(decode)
            .transpose()
            .map_err(|source| StateError::Value { key: *owner, source })
    }

    /// The storage trie of an account, whose account has this storage root.
    fn storage_trie(&self, owner: B256, root: B256) -> Trie {
        if root == EMPTY_ROOT_HASH {
            return Trie::empty(Arc::new(NoNodes));
        }
        if let Some(trie) = self.changed.get(&owner) {
            assert_eq!(
                trie.root(),
                root,
                "an account and its changed storage are written together"
            );
            return trie.clone();
        }
        let rows = Arc::new(TrieRows {
            rows: self.rows.clone(),
            owner: Some(owner),
        });
        self.tries.open(owner, root, self.committed.unwrap_or(0), rows)
    }
}

fn slot_value(owner: &B256, trie: &Trie, slot: U256) -> Result<U256, StateError> {
    let key = keccak256(B256::from(slot));
    let row = trie
        .get(key.as_slice())
        .map_err(|source| StateError::Storage { owner: *owner, source })?;
    let Some(row) = row else { return Ok(U256::ZERO) };
    alloy_rlp::decode_exact(&row).map_err(|source| StateError::Value { key, source })
}

#[cfg(test)]
mod tests;
