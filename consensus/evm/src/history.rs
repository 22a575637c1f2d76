//! A state together with the hashes of the blocks before it: what `BLOCKHASH` may ask for.

use std::{collections::BTreeMap, fmt};

use alloy_primitives::{Address, B256, U256};
use revm::{DatabaseRef, bytecode::Bytecode, state::AccountInfo};

/// How many ancestors `BLOCKHASH` reaches.
pub const ANCESTORS: usize = 256;

/// Hashes of recent blocks by number; the oldest leave.
#[derive(Clone, Debug, Default)]
pub struct Ancestors(BTreeMap<u64, B256>);

impl Ancestors {
    /// Adds the newest block.
    pub fn push(&mut self, number: u64, hash: B256) {
        self.0.insert(number, hash);
        while self.0.len() > ANCESTORS {
            self.0.pop_first();
        }
    }

    /// The hash of a block, if it is recent enough.
    pub fn get(&self, number: u64) -> Option<B256> {
        self.0.get(&number).copied()
    }
}

/// A state that answers `BLOCKHASH` from a list.
#[derive(Clone, Copy)]
pub struct WithAncestors<'a, DB> {
    /// Accounts, code and storage.
    pub state: &'a DB,
    /// Hashes of recent blocks.
    pub ancestors: &'a Ancestors,
}

impl<DB> fmt::Debug for WithAncestors<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithAncestors").finish_non_exhaustive()
    }
}

impl<DB: DatabaseRef> DatabaseRef for WithAncestors<'_, DB> {
    type Error = DB::Error;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, DB::Error> {
        self.state.basic_ref(address)
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, DB::Error> {
        self.state.code_by_hash_ref(code_hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, DB::Error> {
        self.state.storage_ref(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, DB::Error> {
        Ok(self.ancestors.get(number).unwrap_or_default())
    }
}
