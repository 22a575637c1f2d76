//! Accounts that send each other OPEN, so that blocks have transactions.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolCall;
use chain::genesis::{DEV_ACCOUNTS, DEV_CHAIN_ID};
use contracts::{StakeHub, address::STAKE_HUB};
use protocol::{Amount, ValidatorKey};

use crate::dice::Dice;

/// The funded accounts of a development network and the nonces they have used.
#[derive(Debug)]
pub struct Wallet {
    accounts: Vec<(PrivateKeySigner, u64)>,
    dice: Dice,
}

impl Wallet {
    /// A wallet whose transfers are a function of the seed.
    pub fn new(seed: u64) -> Self {
        let signer = |(_, key): &(Address, &str)| key.parse().expect("the development keys are keys");
        Self {
            accounts: DEV_ACCOUNTS.iter().map(|account| (signer(account), 0)).collect(),
            dice: Dice::new(seed, "wallet"),
        }
    }

    /// Signs a transfer of a random amount between two random accounts.
    pub fn transfer(&mut self) -> Arc<[u8]> {
        let count = self.accounts.len() as u64;
        let mut draw = || usize::try_from(self.dice.between(0, count - 1)).expect("an index fits");
        let (from, to) = (draw(), draw());
        let value = U256::from(self.dice.between(1, 1_000_000));
        let tip = u128::from(self.dice.between(0, 1_000_000_000));
        let to = self.accounts[to].0.address();
        self.sign(from, to, value, Bytes::new(), 21_000, tip)
    }

    /// Signs a transaction that stakes for the validator with this key, from the last account.
    pub fn register(&mut self, key: ValidatorKey) -> Arc<[u8]> {
        let call = StakeHub::registerCall { key: key.0.into() }.abi_encode();
        let stake = U256::from(Amount::open(5_000_000).0);
        self.sign(
            self.accounts.len() - 1,
            STAKE_HUB,
            stake,
            call.into(),
            1_000_000,
            1_000_000_000,
        )
    }

    /// Signs a transaction that begins to withdraw that stake.
    pub fn leave(&mut self) -> Arc<[u8]> {
        let call = StakeHub::beginUnbondCall {
            amount: U256::from(Amount::open(5_000_000).0),
        }
        .abi_encode();
        self.sign(
            self.accounts.len() - 1,
            STAKE_HUB,
            U256::ZERO,
            call.into(),
            1_000_000,
            1_000_000_000,
        )
    }

    fn sign(&mut self, from: usize, to: Address, value: U256, input: Bytes, gas_limit: u64, tip: u128) -> Arc<[u8]> {
        let (signer, nonce) = &mut self.accounts[from];
        let transaction = TxEip1559 {
            chain_id: DEV_CHAIN_ID,
            nonce: *nonce,
            gas_limit,
            max_fee_per_gas: 10_000_000_000 + tip,
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(to),
            value,
            input,
            ..Default::default()
        };
        *nonce += 1;
        let signature = signer
            .sign_hash_sync(&transaction.signature_hash())
            .expect("a local key always signs");
        TxEnvelope::from(transaction.into_signed(signature))
            .encoded_2718()
            .into()
    }
}
