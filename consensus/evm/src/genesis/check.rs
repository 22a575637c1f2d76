//! The checks on a genesis file. Every error names the field and the value that it must have.

use std::collections::{BTreeMap, BTreeSet};

use alloy_genesis::{Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, U256};
use contracts::stake_hub::Founder;
use protocol::unit::SUPPLY;

use super::{GenesisError, GenesisValidator, LISTED_MAX, Params};

/// Checks the numbers of the file against their ranges.
pub(super) fn numbers(genesis: &Genesis, params: &Params) -> Result<(), GenesisError> {
    let range = |holds: bool, field, why| {
        if holds {
            Ok(())
        } else {
            Err(GenesisError::Range { field, why })
        }
    };
    range(genesis.config.chain_id != 0, "config.chainId", "must not be 0")?;
    range(genesis.number.unwrap_or(0) == 0, "number", "must be 0 or left out")?;
    range(
        genesis.difficulty.is_zero(),
        "difficulty",
        "must be 0: validators decide, not work",
    )?;
    range(
        genesis.extra_data.len() <= 32,
        "extraData",
        "must have 32 bytes at most",
    )?;
    range(
        (5_000_000..=1 << 40).contains(&genesis.gas_limit),
        "gasLimit",
        "must lie between 5 million and 2^40",
    )?;
    range(
        genesis.base_fee_per_gas.is_none_or(|fee| u64::try_from(fee).is_ok()),
        "baseFeePerGas",
        "must fit into 64 bits",
    )?;
    range(
        params.epoch_length > 0,
        "config.openledger.epochLength",
        "must be 1 or more",
    )?;
    range(
        (1..=LISTED_MAX).contains(&u64::from(params.validators_max)),
        "config.openledger.validatorsMax",
        "must lie between 1 and 256",
    )?;
    range(
        params.minimum_stake.0 > 0,
        "config.openledger.minimumStake",
        "must be more than 0",
    )?;
    range(
        !params.validators.is_empty(),
        "config.openledger.validators",
        "must name one validator or more",
    )?;
    range(
        params.validators.len() <= params.validators_max as usize,
        "config.openledger.validators",
        "must not name more than validatorsMax",
    )
}

/// The validators of the file, in the form in which the stake hub stores them. Keys and accounts must be distinct,
/// and stakes not below the minimum.
pub(super) fn founders(params: &Params) -> Result<Vec<Founder>, GenesisError> {
    let (mut accounts, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let check = |(index, validator): (usize, &GenesisValidator)| {
        let wrong = |why: String| Err(GenesisError::Validator { index, why });
        if !accounts.insert(validator.account) {
            return wrong(format!("account {} is listed twice", validator.account));
        }
        if !keys.insert(validator.key) {
            return wrong(format!("key {} is listed twice", validator.key));
        }
        if validator.stake < params.minimum_stake {
            return wrong(format!(
                "stake {} is below minimumStake {}",
                validator.stake, params.minimum_stake
            ));
        }
        Ok(Founder {
            account: Address::from(validator.account.0),
            key: B256::from(validator.key.0),
            stake: U256::from(validator.stake.0),
        })
    };
    params.validators.iter().enumerate().map(check).collect()
}

/// Checks that all balances together are exactly the supply.
pub(super) fn supply(alloc: &BTreeMap<Address, GenesisAccount>) -> Result<(), GenesisError> {
    let wanted = U256::from(SUPPLY.0);
    let sum = alloc
        .values()
        .try_fold(U256::ZERO, |sum, account| sum.checked_add(account.balance));
    let found = sum.unwrap_or(U256::MAX);
    if found == wanted {
        return Ok(());
    }
    let (off, direction) = if found > wanted {
        (found - wanted, "more")
    } else {
        (wanted - found, "less")
    };
    Err(GenesisError::Supply { found, off, direction })
}
