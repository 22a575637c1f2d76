//! Accounts that send each other OPEN, so that blocks are worth executing.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use daemon::genesis::{DEV_ACCOUNTS, DEV_CHAIN_ID};

use crate::dice::Dice;

/// The funded accounts of a development network and the nonces they have used.
#[derive(Debug)]
pub struct Wallet {
    accounts: Vec<(PrivateKeySigner, u64)>,
    dice: Dice,
}

impl Wallet {
    /// What this seed sends.
    pub fn new(seed: u64) -> Self {
        let signer = |(_, key): &(Address, &str)| key.parse().expect("the development keys are keys");
        Self {
            accounts: DEV_ACCOUNTS.iter().map(|account| (signer(account), 0)).collect(),
            dice: Dice::new(seed, "wallet"),
        }
    }

    /// The next transfer, of anyone to anyone.
    pub fn transfer(&mut self) -> Arc<[u8]> {
        let count = self.accounts.len() as u64;
        let mut draw = || usize::try_from(self.dice.between(0, count - 1)).expect("an index fits");
        let (from, to) = (draw(), draw());
        let value = U256::from(self.dice.between(1, 1_000_000));
        let tip = u128::from(self.dice.between(0, 1_000_000_000));
        let to = self.accounts[to].0.address();
        let (signer, nonce) = &mut self.accounts[from];
        let transaction = TxEip1559 {
            chain_id: DEV_CHAIN_ID,
            nonce: *nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 10_000_000_000 + tip,
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(to),
            value,
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
