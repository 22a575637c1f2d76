//! How much OPEN there is. Genesis fixes it and no rule of the chain adds to it: rewards and withdrawals do not exist,
//! and the base fee is moved instead of burned.
//!
//! One thing can take from it, as on Ethereum: a contract that destroys itself in favour of itself within the transaction
//! that created it (EIP-6780) takes its own balance along.

use alloy_primitives::{Address, U256};

use crate::state::{StateError, WorldState};

/// What these accounts hold together. A trie knows only hashes of addresses, so the caller names who may hold something.
pub fn held_by(state: &WorldState, accounts: impl IntoIterator<Item = Address>) -> Result<U256, StateError> {
    accounts.into_iter().try_fold(U256::ZERO, |sum, address| {
        let balance = state.account(&address)?.map_or(U256::ZERO, |account| account.balance);
        Ok(sum + balance)
    })
}
