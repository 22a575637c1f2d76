//! Applies the changes of a block, as revm bundles them, to a state.
//!
//! The bundle decides which accounts exist: it leaves out empty accounts that a block touched (EIP-161), and marks
//! accounts whose storage is wiped. The order of the bundle does not matter, because a trie has one shape for one
//! content.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use rayon::prelude::*;
use revm::{
    bytecode::Bytecode,
    database::{BundleAccount, BundleState},
    state::AccountInfo,
};

use super::{StateError, WorldState};
use crate::trie::{NoNodes, Trie};

/// The change of one account.
struct Outcome {
    owner: B256,
    account: Option<TrieAccount>,
    /// The account's storage trie, if it changed.
    storage: Option<Trie>,
}

impl WorldState {
    /// The state after a block with these changes. Nothing is stored before [`super::StateStore::commit`].
    pub fn apply(&self, bundle: &BundleState) -> Result<Self, StateError> {
        let touched: Vec<(&Address, &BundleAccount)> = bundle
            .state
            .iter()
            .filter(|(_, account)| !account.status.is_not_modified())
            .collect();
        let mut outcomes: Vec<Outcome> = touched
            .par_iter()
            .map(|(address, account)| self.outcome(address, account))
            .collect::<Result<_, _>>()?;
        // In the order of the trie, so that neighbours are in the processor's cache.
        outcomes.sort_unstable_by_key(|outcome| outcome.owner);

        let mut accounts = self.accounts.clone();
        let mut changed = BTreeMap::clone(&self.changed);
        for Outcome {
            owner,
            account,
            storage,
        } in outcomes
        {
            let row = account.map_or_else(Vec::new, alloy_rlp::encode);
            accounts
                .insert(owner.as_slice(), row.into())
                .map_err(StateError::Accounts)?;
            changed.extend(storage.map(|trie| (owner, trie)));
        }
        let mut codes = BTreeMap::clone(&self.codes);
        codes.extend(new_codes(bundle));
        accounts.root();
        Ok(Self {
            is_committed: false,
            parent: self.root(),
            accounts,
            changed: Arc::new(changed),
            codes: Arc::new(codes),
            ..self.clone()
        })
    }

    fn outcome(&self, address: &Address, change: &BundleAccount) -> Result<Outcome, StateError> {
        let owner = keccak256(address);
        let root = self
            .account_at(&owner)?
            .map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
        let wiped = change.was_destroyed() || change.info.is_none();
        let mut trie = if wiped {
            Trie::empty(Arc::new(NoNodes))
        } else {
            self.storage_trie(owner, root)
        };
        if change.info.is_some() {
            write_slots(&mut trie, change, wiped).map_err(|source| StateError::Storage { owner, source })?;
        }
        let storage_root = trie.root();
        Ok(Outcome {
            owner,
            account: change.info.as_ref().map(|info| trie_account(info, storage_root)),
            storage: (storage_root != root).then_some(trie),
        })
    }
}

/// Writes the slots that changed, or all of them into storage that was wiped.
fn write_slots(trie: &mut Trie, change: &BundleAccount, wiped: bool) -> Result<(), crate::trie::NodeError> {
    for (slot, value) in &change.storage {
        if wiped || value.is_changed() {
            let key = keccak256(B256::from(*slot));
            trie.insert(key.as_slice(), slot_row(value.present_value).into())?;
        }
    }
    Ok(())
}

/// The value of a slot as the trie stores it. Zero is stored as absence.
fn slot_row(value: U256) -> Vec<u8> {
    if value.is_zero() {
        Vec::new()
    } else {
        alloy_rlp::encode(value)
    }
}

fn trie_account(info: &AccountInfo, storage_root: B256) -> TrieAccount {
    TrieAccount {
        nonce: info.nonce,
        balance: info.balance,
        storage_root,
        code_hash: info.code_hash,
    }
}

/// Code that the block created: from the contracts of the bundle and from accounts that carry their own.
fn new_codes(bundle: &BundleState) -> impl Iterator<Item = (B256, Bytecode)> {
    let carried = bundle
        .state
        .values()
        .filter(|account| account.is_contract_changed())
        .filter_map(|account| {
            let info = account.info.as_ref()?;
            Some((info.code_hash, info.code.clone()?))
        });
    let created = bundle.contracts.iter().map(|(hash, code)| (*hash, code.clone()));
    carried.chain(created).filter(|(_, code)| !code.is_empty())
}
