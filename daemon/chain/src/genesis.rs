//! Genesis files: of development networks, and of networks launched with validators and accounts of their own.
//!
//! The accounts of a development network are those of common Ethereum development tools, whose keys everybody
//! knows, so wallets and scripts work at once. On a real network they must hold nothing.

use std::collections::BTreeMap;

use alloy_genesis::{Genesis, GenesisAccount};
use alloy_primitives::{Address, U256, address};
use evm::genesis::{GenesisValidator, Params, Timing};

mod launch;

use launch::Template;
pub use launch::{Founders, LaunchError, launch};
use protocol::{Account, Amount, ValidatorKey, unit::SUPPLY};

/// Chain id of development networks, the usual one of Ethereum development chains.
pub const DEV_CHAIN_ID: u64 = 1337;
/// Stake of each development validator.
const STAKE: Amount = Amount::open(10_000_000);
/// Balance of each development account except the first, which has the rest of the supply.
const FUNDED: Amount = Amount::open(10_000_000);

/// Accounts of development networks with their private keys, which everybody knows: mnemonic `test test test test
/// test test test test test test test junk`.
pub const DEV_ACCOUNTS: [(Address, &str); 10] = [
    (
        address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    ),
    (
        address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    ),
    (
        address!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
        "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    ),
    (
        address!("0x90F79bf6EB2c4f870365E785982E1f101E93b906"),
        "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    ),
    (
        address!("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"),
        "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    ),
    (
        address!("0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
        "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    ),
    (
        address!("0x976EA74026E726554dB657fA54763abd0C3a0aa9"),
        "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    ),
    (
        address!("0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"),
        "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    ),
    (
        address!("0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"),
        "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    ),
    (
        address!("0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
        "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
    ),
];

/// The account of the validator with this number on a development network.
pub fn validator_account(number: usize) -> Account {
    let mut bytes = *b"openledger-validator";
    bytes[19] = u8::try_from(number).expect("a development network has few validators");
    Account(bytes)
}

/// The genesis of a development network with these validators.
pub fn development(validators: &[ValidatorKey], epoch_length: u64, timing: Timing) -> Genesis {
    let validator = |(number, key): (usize, &ValidatorKey)| GenesisValidator {
        account: validator_account(number),
        key: *key,
        stake: STAKE,
    };
    let template = Template::of("dev");
    let params = Params {
        epoch_length,
        timing,
        ..template.params(validators.iter().enumerate().map(validator).collect())
    };
    template.genesis(&params, accounts(validators.len()))
}

fn accounts(validators: usize) -> BTreeMap<Address, GenesisAccount> {
    let staked = STAKE.0 * validators as u128;
    let others = FUNDED.0 * (DEV_ACCOUNTS.len() as u128 - 1);
    let first = SUPPLY
        .0
        .checked_sub(staked + others)
        .expect("a development network stakes less than all OPEN");
    let balance = |number: usize| if number == 0 { first } else { FUNDED.0 };
    let account = |(number, (address, _)): (usize, &(Address, &str))| {
        (
            *address,
            GenesisAccount::default().with_balance(U256::from(balance(number))),
        )
    };
    DEV_ACCOUNTS.iter().enumerate().map(account).collect()
}

#[cfg(test)]
mod tests {
    use alloy_signer_local::PrivateKeySigner;
    use evm::genesis::ChainGenesis;
    use protocol::crypto::SecretKey;

    use super::*;

    #[test]
    fn a_development_genesis_holds_the_whole_supply() {
        let keys: Vec<_> = (1..=4)
            .map(|seed| SecretKey::from_seed([seed; 32]).validator())
            .collect();
        let genesis = development(&keys, 100, Timing::default());
        let chain = ChainGenesis::new(genesis.clone()).unwrap();
        assert_eq!(chain.params.validators.len(), 4);
        let text = serde_json::to_vec(&genesis).unwrap();
        assert_eq!(ChainGenesis::from_json(&text).unwrap().hash, chain.hash);
    }

    #[test]
    fn the_development_keys_are_those_of_the_accounts() {
        for (address, key) in DEV_ACCOUNTS {
            assert_eq!(key.parse::<PrivateKeySigner>().unwrap().address(), address);
        }
    }
}
