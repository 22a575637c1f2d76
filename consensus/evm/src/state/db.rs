//! The state as a database for the EVM.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{Address, B256, U256};
use revm::{DatabaseRef, bytecode::Bytecode, database_interface::DBErrorMarker, state::AccountInfo};

use super::{StateError, WorldState};

/// A snapshot with the block hashes that `BLOCKHASH` may return.
#[derive(Clone, Debug)]
pub struct StateDb {
    pub state: WorldState,
    /// Hashes of up to 256 blocks below the executing one, by height.
    pub hashes: Arc<BTreeMap<u64, B256>>,
}

impl DBErrorMarker for StateError {}

impl WorldState {
    /// This state as a [`DatabaseRef`] for the EVM, with the block hashes that `BLOCKHASH` may return.
    pub fn db(&self, hashes: Arc<BTreeMap<u64, B256>>) -> StateDb {
        StateDb {
            state: self.clone(),
            hashes,
        }
    }
}

impl DatabaseRef for StateDb {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        let account = self.state.account(&address)?;
        Ok(account.map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code: None,
            account_id: None,
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, StateError> {
        self.state.bytecode(&code_hash)?.ok_or(StateError::Code(code_hash))
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, StateError> {
        self.state.storage(&address, index)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StateError> {
        // A wrong hash would fork the chain silently; an error stops this node alone.
        self.hashes.get(&number).copied().ok_or(StateError::BlockHash(number))
    }
}
