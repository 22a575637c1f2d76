//! EIP-7610: a contract cannot be created at an address that has storage, even if the account has neither code nor
//! nonce.
//!
//! Such accounts come only from genesis files (and, on Ethereum, from before EIP-161), so
//! [`ChainSpec`](crate::chain::ChainSpec) lists them and the state is not asked. The EVM detects a collision by
//! code hash or nonce. A listed account is therefore shown to the EVM with a value that collides and has no other
//! effect: a code hash of zero if the account counts as empty anyway, else a nonce of one. The changes that the EVM
//! returns are translated back. Left out: a listed account that sends a transaction, since no key for one is known.

use std::{collections::BTreeSet, fmt};

use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::{DatabaseRef, bytecode::Bytecode, database::BundleState, state::AccountInfo};

/// The accounts among these that have storage and neither code nor nonce.
pub fn bare_storage<'a>(accounts: impl IntoIterator<Item = (&'a Address, &'a GenesisAccount)>) -> BTreeSet<Address> {
    accounts
        .into_iter()
        .filter(|(_, account)| account.nonce.unwrap_or(0) == 0 && account.non_empty_code().is_none())
        .filter(|(_, account)| account.storage_slots().any(|(_, value)| !value.is_zero()))
        .map(|(address, _)| *address)
        .collect()
}

/// A database in which creating a contract at a listed account collides.
pub(crate) struct CollisionDb<'a, DB> {
    pub(crate) db: DB,
    pub(crate) listed: &'a BTreeSet<Address>,
}

impl<DB> CollisionDb<'_, DB> {
    /// Restores the true code hash and nonce of listed accounts in the EVM's changes.
    pub(crate) fn restore(listed: &BTreeSet<Address>, changes: &mut BundleState) {
        for address in listed {
            let Some(account) = changes.state.get_mut(address) else {
                continue;
            };
            for info in [&mut account.info, &mut account.original_info].into_iter().flatten() {
                if info.code_hash.is_zero() {
                    info.code_hash = KECCAK256_EMPTY;
                } else if info.is_empty_code_hash() {
                    info.nonce = info.nonce.saturating_sub(1);
                }
            }
        }
    }
}

impl<DB> fmt::Debug for CollisionDb<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollisionDb")
            .field("listed", &self.listed.len())
            .finish_non_exhaustive()
    }
}

impl<DB: DatabaseRef> DatabaseRef for CollisionDb<'_, DB> {
    type Error = DB::Error;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, DB::Error> {
        let mut account = self.db.basic_ref(address)?;
        if !self.listed.is_empty()
            && self.listed.contains(&address)
            && let Some(info) = &mut account
            && info.is_empty_code_hash()
            && info.nonce == 0
        {
            if info.balance.is_zero() {
                info.code_hash = B256::ZERO;
                info.code = None;
            } else {
                info.nonce = 1;
            }
        }
        Ok(account)
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, DB::Error> {
        if code_hash.is_zero() {
            Ok(Bytecode::default())
        } else {
            self.db.code_by_hash_ref(code_hash)
        }
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, DB::Error> {
        self.db.storage_ref(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, DB::Error> {
        self.db.block_hash_ref(number)
    }
}
