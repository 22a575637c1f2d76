//! A state in ordered maps that computes its root from scratch each time: slow and simple. It is the oracle for the
//! trie.

use std::{collections::BTreeMap, convert::Infallible, fmt, sync::Arc};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount, root};
use revm::{
    DatabaseRef,
    bytecode::Bytecode,
    database::{AccountStatus, BundleState},
    state::AccountInfo,
};

#[derive(Clone, Debug, Default)]
struct PlainAccount {
    info: AccountInfo,
    storage: BTreeMap<U256, U256>,
}

/// All accounts and code, shared between snapshots until one changes.
#[derive(Clone, Default)]
pub struct PlainState {
    accounts: Arc<BTreeMap<Address, PlainAccount>>,
    codes: Arc<BTreeMap<B256, Bytecode>>,
}

impl PlainState {
    /// The state after these changes. The original stays as it is.
    #[must_use]
    pub fn apply(&self, changes: &BundleState) -> Self {
        let mut next = self.clone();
        let accounts = Arc::make_mut(&mut next.accounts);
        for (address, change) in &changes.state {
            let Some(info) = &change.info else {
                accounts.remove(address);
                continue;
            };
            let account = accounts.entry(*address).or_default();
            if wipes_storage(change.status) {
                account.storage.clear();
            }
            account.info = info.clone();
            for (slot, value) in &change.storage {
                if value.present_value.is_zero() {
                    account.storage.remove(slot);
                } else {
                    account.storage.insert(*slot, value.present_value);
                }
            }
        }
        if !changes.contracts.is_empty() {
            let codes = Arc::make_mut(&mut next.codes);
            codes.extend(changes.contracts.iter().map(|(hash, code)| (*hash, code.clone())));
        }
        next
    }

    /// The Merkle-Patricia root, computed from all accounts.
    pub fn root(&self) -> B256 {
        root::state_root_unhashed(self.accounts.iter().map(|(address, account)| {
            let storage_root = if account.storage.is_empty() {
                EMPTY_ROOT_HASH
            } else {
                root::storage_root_unhashed(account.storage.iter().map(|(slot, value)| (B256::from(*slot), *value)))
            };
            let leaf = TrieAccount {
                nonce: account.info.nonce,
                balance: account.info.balance,
                storage_root,
                code_hash: account.info.code_hash,
            };
            (*address, leaf)
        }))
    }

    /// The sum of all balances.
    pub fn supply(&self) -> U256 {
        self.accounts.values().map(|account| account.info.balance).sum()
    }
}

/// Returns true if the account was destroyed in between, so that its earlier storage is gone.
fn wipes_storage(status: AccountStatus) -> bool {
    status.was_destroyed()
}

impl fmt::Debug for PlainState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainState")
            .field("accounts", &self.accounts.len())
            .finish_non_exhaustive()
    }
}

impl DatabaseRef for PlainState {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.accounts.get(&address).map(|account| AccountInfo {
            code: None,
            ..account.info.clone()
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.codes.get(&code_hash).cloned().unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        let value = self
            .accounts
            .get(&address)
            .and_then(|account| account.storage.get(&slot));
        Ok(value.copied().unwrap_or_default())
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(keccak256(number.to_string()))
    }
}
