//! The supply of OPEN. Genesis fixes it and no rule of the chain adds to it: there are no rewards and no
//! withdrawals, and the base fee is moved, not burned.
//!
//! One thing can reduce it, as on Ethereum: a contract that destroys itself in favour of itself within the
//! transaction that created it (EIP-6780) takes its balance along.

use alloy_primitives::{Address, U256};

use crate::state::{StateError, WorldState};

/// The sum of these accounts' balances. The state trie knows only hashes of addresses, so the caller must name
/// every account that may hold something.
pub fn held_by(state: &WorldState, accounts: impl IntoIterator<Item = Address>) -> Result<U256, StateError> {
    accounts.into_iter().try_fold(U256::ZERO, |sum, address| {
        let balance = state.account(&address)?.map_or(U256::ZERO, |account| account.balance);
        Ok(sum + balance)
    })
}
