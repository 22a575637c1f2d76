//! The storage that a `StakeHub` starts with: the same that its functions would have written, had they run before
//! block 1.
//!
//! The slots mirror the layout that the compiler gives `StakeHub.sol`. A test in crate `evm` executes the real
//! bytecode on this storage and keeps the two in step.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, keccak256};

const MINIMUM_STAKE: U256 = U256::ZERO;
const UNBONDING_AND_MAX: U256 = U256::from_limbs([1, 0, 0, 0]);
const LISTED: U256 = U256::from_limbs([2, 0, 0, 0]);
const VALIDATORS: U256 = U256::from_limbs([3, 0, 0, 0]);
const OWNER_OF_KEY: U256 = U256::from_limbs([4, 0, 0, 0]);

/// The staking parameters that genesis writes into the storage of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// In the smallest unit of OPEN.
    pub minimum_stake: U256,
    /// Blocks between the request to unstake and the payment.
    pub unbonding_blocks: u64,
    /// Most candidates in the list. It bounds every loop of the contract.
    pub listed_max: u64,
}

/// A validator that stakes at genesis. The stake hub holds the stake and lists the validator as if it had
/// registered itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founder {
    /// The account that owns the stake.
    pub account: Address,
    /// The key that its votes are signed with.
    pub key: B256,
    /// In the smallest unit of OPEN.
    pub stake: U256,
}

/// The storage of a hub that lists `founders`, in that order.
///
/// The caller must credit the hub with the sum of the stakes, and must pass distinct accounts and keys.
pub fn genesis_storage(terms: &Terms, founders: &[Founder]) -> BTreeMap<B256, B256> {
    let mut storage = BTreeMap::new();
    let mut set = |slot: U256, value: U256| {
        if !value.is_zero() {
            storage.insert(B256::from(slot), B256::from(value));
        }
    };
    set(MINIMUM_STAKE, terms.minimum_stake);
    set(
        UNBONDING_AND_MAX,
        U256::from(terms.unbonding_blocks) | U256::from(terms.listed_max) << 64,
    );
    set(LISTED, U256::from(founders.len()));
    let first = U256::from_be_bytes(keccak256(LISTED.to_be_bytes::<32>()).0);
    for (index, founder) in founders.iter().enumerate() {
        let account = founder.account.into_word();
        set(first + U256::from(index), U256::from_be_bytes(account.0));
        let record = mapping_slot(account, VALIDATORS);
        set(record, U256::from_be_bytes(founder.key.0));
        set(record + U256::from(1), founder.stake);
        set(record + U256::from(3), U256::from(index + 1) << 64);
        set(mapping_slot(founder.key, OWNER_OF_KEY), U256::from_be_bytes(account.0));
    }
    storage
}

/// Storage slot of `mapping[key]`, which Solidity puts at `keccak256(key ‖ slot)`.
fn mapping_slot(key: B256, slot: U256) -> U256 {
    U256::from_be_bytes(keccak256([key.0, slot.to_be_bytes::<32>()].concat()).0)
}
