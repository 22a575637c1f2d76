//! Turns the accounts of a genesis file into the state changes that create them.

use std::collections::BTreeMap;

use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, U256};
use revm::{
    bytecode::Bytecode,
    database::{AccountStatus, BundleAccount, BundleState, states::StorageSlot},
    state::AccountInfo,
};

/// The changes that make an empty state hold exactly these accounts.
pub fn creation(accounts: &BTreeMap<Address, GenesisAccount>) -> BundleState {
    let mut changes = BundleState::default();
    for (address, account) in accounts {
        let code = account
            .non_empty_code()
            .map(|code| Bytecode::new_raw(code.clone()))
            .unwrap_or_default();
        let info = AccountInfo::new(
            account.balance,
            account.nonce.unwrap_or(0),
            code.hash_slow(),
            code.clone(),
        );
        if !code.is_empty() {
            changes.contracts.insert(info.code_hash, code);
        }
        let storage = account
            .storage_slots()
            // The state stores a slot of zero as absence.
            .filter(|(_, value)| !value.is_zero())
            .map(|(slot, value)| (U256::from_be_bytes(slot.0), StorageSlot::new_changed(U256::ZERO, value)))
            .collect();
        changes.state.insert(
            *address,
            BundleAccount::new(None, Some(info), storage, AccountStatus::InMemoryChange),
        );
    }
    changes
}
