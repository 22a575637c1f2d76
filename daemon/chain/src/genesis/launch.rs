//! The genesis of a network, from the network's template in `config/genesis` and a file of its founders.
//!
//! The template distributes the supply to shares, and the founders name an account for each. The validators' stakes
//! come out of the community share. Unlock schedules are left out: an account that must not spend yet is a
//! contract.

use std::collections::BTreeMap;

use alloy_genesis::{Genesis, GenesisAccount};
use alloy_primitives::{Address, U256};
use evm::genesis::{ChainGenesis, GenesisError, GenesisValidator, Params, Timing, osaka_from_genesis};
use protocol::{Account, Amount, unit::SUPPLY};
use serde::Deserialize;

/// The share of which the stakes of the first validators are taken.
const STAKES_FROM: &str = "community";
const WHOLE: u128 = 1_000_000;

/// The template of a network, a file of `config/genesis`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Template {
    chain_id: u64,
    gas_limit: u64,
    openledger: Rules,
    /// Shares of the supply, in millionths.
    allocation: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rules {
    epoch_length: u64,
    validators_max: u32,
    minimum_stake: String,
    unbonding_blocks: u64,
    timing: Timing,
}

/// The founders of a network: `{"validators": [{"account", "key", "stake": "100000 OPEN"}], "accounts":
/// {"community": "0x…"}}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founders {
    /// The validators from the first block on.
    pub validators: Vec<GenesisValidator>,
    /// The account of each share of the supply.
    pub accounts: BTreeMap<String, Account>,
}

/// Reason that founders cannot launch a network. Each names the entry of the founders' file.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A share of the supply has no account.
    #[error("accounts.{0} is missing: name the account that receives this share")]
    MissingAccount(String),
    /// An account is named for a share that the network does not have.
    #[error("accounts.{0} is no share of this network; its shares are: {1}")]
    UnknownShare(String, String),
    #[error("the validators stake {staked}, the {STAKES_FROM} share has {share}")]
    Stakes {
        /// The sum of their stakes.
        staked: Amount,
        /// The share that they are taken of.
        share: Amount,
    },
    /// Two shares name the same account.
    #[error("accounts.{0} is the account of another share, too; name another")]
    SharedAccount(String),
    #[error(transparent)]
    Genesis(#[from] GenesisError),
}

impl Template {
    pub(super) fn of(network: &str) -> Self {
        let network = config::network(network).expect("the caller names a network that exists");
        serde_json::from_str(network.genesis).expect("the files of config/genesis are tested")
    }

    pub(super) fn params(&self, validators: Vec<GenesisValidator>) -> Params {
        let rules = &self.openledger;
        Params {
            epoch_length: rules.epoch_length,
            validators_max: rules.validators_max,
            minimum_stake: rules
                .minimum_stake
                .parse()
                .expect("the files of config/genesis are tested"),
            unbonding_blocks: rules.unbonding_blocks,
            base_fee_min: 1_000_000,
            timing: rules.timing,
            validators,
        }
    }

    pub(super) fn genesis(&self, params: &Params, alloc: BTreeMap<Address, GenesisAccount>) -> Genesis {
        let mut config = osaka_from_genesis(self.chain_id);
        let params = serde_json::to_value(params).expect("parameters are plain data");
        config.extra_fields.insert("openledger".to_owned(), params);
        Genesis {
            config,
            gas_limit: self.gas_limit,
            alloc,
            ..Genesis::default()
        }
    }

    /// The shares of the supply. Each rounds down, and the first gets the remainder, so that the sum is exact.
    fn shares(&self) -> BTreeMap<&str, Amount> {
        let mut shares = BTreeMap::new();
        for (name, part) in &self.allocation {
            shares.insert(name.as_str(), Amount(SUPPLY.0 / WHOLE * u128::from(*part)));
        }
        let given: u128 = shares.values().map(|share: &Amount| share.0).sum();
        if let Some(first) = shares.values_mut().next() {
            first.0 += SUPPLY.0 - given;
        }
        shares
    }
}

/// The genesis of a network that these founders launch, checked as a node checks it.
pub fn launch(network: &str, founders: &Founders) -> Result<Genesis, LaunchError> {
    let template = Template::of(network);
    let mut shares = template.shares();
    if let Some(name) = founders
        .accounts
        .keys()
        .find(|name| !shares.contains_key(name.as_str()))
    {
        let known: Vec<_> = shares.keys().copied().collect();
        return Err(LaunchError::UnknownShare(name.clone(), known.join(", ")));
    }
    let staked: u128 = founders
        .validators
        .iter()
        .fold(0, |sum, validator| sum.saturating_add(validator.stake.0));
    let share = shares.get(STAKES_FROM).copied().unwrap_or_default();
    let left = share.checked_sub(Amount(staked));
    let left = left.ok_or(LaunchError::Stakes {
        staked: Amount(staked),
        share,
    })?;
    shares.insert(STAKES_FROM, left);

    let mut alloc = BTreeMap::new();
    for (name, share) in shares {
        let account = founders
            .accounts
            .get(name)
            .ok_or_else(|| LaunchError::MissingAccount(name.to_owned()))?;
        let funded = GenesisAccount::default().with_balance(U256::from(share.0));
        if alloc.insert(Address::from(account.0), funded).is_some() {
            return Err(LaunchError::SharedAccount(name.to_owned()));
        }
    }
    let genesis = template.genesis(&template.params(founders.validators.clone()), alloc);
    ChainGenesis::new(genesis.clone())?;
    Ok(genesis)
}

#[cfg(test)]
mod tests {
    use protocol::crypto::SecretKey;

    use super::*;

    fn founders() -> Founders {
        let names = ["community", "ecosystem", "investors", "team", "liquidity"];
        let account = |(at, name): (u8, &str)| (name.to_owned(), Account([at + 1; 20]));
        let validator = GenesisValidator {
            account: Account([9; 20]),
            key: SecretKey::from_seed([1; 32]).validator(),
            stake: Amount::open(100_000),
        };
        Founders {
            validators: vec![validator],
            accounts: (0..).zip(names).map(account).collect(),
        }
    }

    #[test]
    fn every_network_can_be_launched_with_the_whole_supply() {
        for network in ["test", "main"] {
            let genesis = launch(network, &founders()).unwrap();
            let team = genesis.alloc[&Address::from([4; 20])].balance;
            assert_eq!(
                team,
                U256::from(Amount::open(150_000_000).0),
                "15 % of the supply, {network}"
            );
            let community = genesis.alloc[&Address::from([1; 20])].balance;
            assert_eq!(community, U256::from(Amount::open(517_100_000 - 100_000).0));
        }
        assert_eq!(Template::of("dev").chain_id, super::super::DEV_CHAIN_ID);
    }

    #[test]
    fn the_error_names_the_missing_account_or_share() {
        let mut lacking = founders();
        lacking.accounts.remove("team");
        assert_eq!(
            launch("main", &lacking).unwrap_err().to_string(),
            "accounts.team is missing: name the account that receives this share"
        );
        let mut odd = founders();
        odd.accounts.insert("friends".to_owned(), Account([7; 20]));
        assert!(
            launch("main", &odd)
                .unwrap_err()
                .to_string()
                .contains("its shares are: community, ecosystem")
        );
        let mut rich = founders();
        rich.validators[0].stake = SUPPLY;
        assert!(matches!(launch("main", &rich), Err(LaunchError::Stakes { .. })));
    }
}
