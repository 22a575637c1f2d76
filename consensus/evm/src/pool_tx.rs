//! Checks on a transaction before it enters the mempool: from bytes to a [`PooledTransaction`] with a recovered
//! sender, or to an error.
//!
//! Everything is checked that does not depend on the state. Nonce and balance are compared by the mempool.

use std::sync::Arc;

use alloy_consensus::{Header, Transaction, TxEip4844Variant, TxEnvelope, transaction::Recovered};
use alloy_eips::{Decodable2718, Encodable2718, eip7825::MAX_TX_GAS_LIMIT_OSAKA};
use alloy_evm::FromRecoveredTx;
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::U256;
use consensus::mempool::PooledTransaction;
use protocol::{Account, Amount, TxHash};
use rayon::prelude::*;
use revm::{
    context::TxEnv,
    handler::validation::validate_initial_tx_gas,
    primitives::{eip3860::MAX_INITCODE_SIZE, hardfork::SpecId},
};

use crate::{chain::ChainSpec, senders::SenderCache};

/// Largest encoding of a transaction without blobs, in bytes. A longer one is refused before it is decoded.
pub const TX_BYTES_MAX: usize = 128 << 10;

/// Largest encoding of a transaction with its blobs, in bytes, on chains that have them.
pub const BLOB_TX_BYTES_MAX: usize = 1 << 20;

/// Reason that a transaction is refused in any state. The texts follow geth's where wallets match on them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    #[error("oversized data: transaction size {found}, limit {TX_BYTES_MAX}")]
    TooLong { found: usize },
    /// The bytes do not decode, or are not the canonical encoding of what they decode to.
    #[error("not a transaction: {0}")]
    Encoding(String),
    #[error(
        "blob transactions (EIP-4844, type 3) are not supported on this chain; send the data as calldata or off chain"
    )]
    Blobs,
    /// The chain has blobs, and the transaction carries wrong ones.
    #[error("invalid blob transaction: {0}")]
    Sidecar(String),
    #[error("invalid chain id for signer: have {found} want {wanted}")]
    Chain { found: u64, wanted: u64 },
    /// The signature does not cover a chain id, so other chains would accept it.
    #[error("only replay-protected (EIP-155) transactions are accepted; sign for chain id {0}")]
    Unprotected(u64),
    #[error("invalid sender: the signature is invalid or has a high s")]
    Sender,
    #[error("intrinsic gas too low: gas {limit}, minimum needed {needed}")]
    IntrinsicGas { limit: u64, needed: u64 },
    /// The gas limit is above what one transaction may use (EIP-7825), or above a block's.
    #[error("gas limit {limit} is above the {max} that a transaction may use")]
    GasLimit { limit: u64, max: u64 },
    #[error("max priority fee per gas higher than max fee per gas: {tip} > {cap}")]
    TipAboveCap { tip: u128, cap: u128 },
    /// Value and gas exceed what an [`Amount`] can hold.
    #[error("value and gas cost more than all OPEN there is")]
    Cost,
    /// No transaction could follow this nonce.
    #[error("nonce has max value")]
    NonceMax,
    #[error("max initcode size exceeded: code size {found}, limit {MAX_INITCODE_SIZE}")]
    InitCode { found: usize },
    /// The authorization list is empty, or the transaction creates a contract (EIP-7702).
    #[error("a set-code transaction (EIP-7702) needs a non-empty authorization list and a destination")]
    SetCode,
}

/// Validates transactions against the rules of one chain. It does not know the state.
#[derive(Clone, Debug)]
pub struct TxValidator {
    pub chain_id: u64,
    pub block_gas_limit: u64,
    pub senders: SenderCache,
    rules: SpecId,
    blobs: bool,
}

impl TxValidator {
    /// Checks for this project's own chain: Osaka rules, no blob transactions.
    pub fn new(chain_id: u64, block_gas_limit: u64, senders: SenderCache) -> Self {
        Self {
            chain_id,
            block_gas_limit,
            senders,
            rules: SpecId::OSAKA,
            blobs: false,
        }
    }

    /// The validator of an imported chain with this head. Blob transactions are accepted if the chain has them.
    pub(crate) fn for_imported(spec: &ChainSpec, head: &Header, senders: SenderCache) -> Self {
        Self {
            rules: spec.evm_env(head).cfg_env.spec,
            blobs: spec.is_cancun_active_at_timestamp(head.timestamp),
            ..Self::new(spec.chain_id, head.gas_limit, senders)
        }
    }

    /// Decodes and checks one transaction and recovers its sender.
    pub fn recover(&self, raw: &[u8]) -> Result<Recovered<TxEnvelope>, TxError> {
        let transaction = if self.blobs {
            decode_with_blobs(raw)?
        } else {
            decode(raw)?
        };
        self.check(&transaction)?;
        let transaction = self.senders.recover(transaction).ok_or(TxError::Sender)?;
        self.check_gas(&transaction)?;
        Ok(transaction)
    }

    /// Decodes and checks one transaction for the mempool. The result has everything that the mempool compares, so
    /// it never decodes a transaction itself.
    pub fn admit(&self, raw: &Arc<[u8]>) -> Result<PooledTransaction, TxError> {
        let transaction = self.recover(raw)?;
        Ok(PooledTransaction {
            hash: TxHash(transaction.tx_hash().0),
            sender: Account(transaction.signer().0.0),
            nonce: transaction.nonce(),
            gas_limit: transaction.gas_limit(),
            fee_cap: transaction.max_fee_per_gas(),
            tip_cap: transaction
                .max_priority_fee_per_gas()
                .unwrap_or_else(|| transaction.max_fee_per_gas()),
            cost: cost(&transaction).ok_or(TxError::Cost)?,
            raw: raw.clone(),
        })
    }

    /// Decodes and checks many transactions in parallel. Results are in the order of `raw`.
    pub fn admit_all(&self, raw: &[Arc<[u8]>]) -> Vec<Result<PooledTransaction, TxError>> {
        raw.par_iter().map(|raw| self.admit(raw)).collect()
    }

    fn check(&self, transaction: &TxEnvelope) -> Result<(), TxError> {
        match transaction.chain_id() {
            Some(found) if found != self.chain_id => {
                return Err(TxError::Chain {
                    found,
                    wanted: self.chain_id,
                });
            }
            Some(_) => (),
            None => return Err(TxError::Unprotected(self.chain_id)),
        }
        let (tip, cap) = (
            transaction.max_priority_fee_per_gas().unwrap_or(0),
            transaction.max_fee_per_gas(),
        );
        if tip > cap {
            return Err(TxError::TipAboveCap { tip, cap });
        }
        if transaction.nonce() == u64::MAX {
            return Err(TxError::NonceMax);
        }
        if transaction.is_create() && transaction.input().len() > MAX_INITCODE_SIZE {
            return Err(TxError::InitCode {
                found: transaction.input().len(),
            });
        }
        let delegates = transaction.authorization_list().is_some_and(|list| !list.is_empty());
        if transaction.is_eip7702() && (!delegates || transaction.is_create()) {
            return Err(TxError::SetCode);
        }
        if let TxEnvelope::Eip4844(blobs) = transaction {
            check_blobs(blobs.tx())?;
        }
        Ok(())
    }

    /// Checks the intrinsic gas (EIP-2028 and later), the floor of EIP-7623 and the cap of EIP-7825.
    fn check_gas(&self, transaction: &Recovered<TxEnvelope>) -> Result<(), TxError> {
        let capped = self.rules.is_enabled_in(SpecId::OSAKA);
        let most = if capped { MAX_TX_GAS_LIMIT_OSAKA } else { u64::MAX };
        let (limit, max) = (transaction.gas_limit(), most.min(self.block_gas_limit));
        if limit > max {
            return Err(TxError::GasLimit { limit, max });
        }
        // With unlimited gas the check returns the need, instead of naming the first of two rules that failed.
        let mut env = TxEnv::from_recovered_tx(transaction.inner(), transaction.signer());
        env.gas_limit = u64::MAX;
        let gas = validate_initial_tx_gas(&env, self.rules, false, false, u64::MAX, None)
            .map_err(|error| TxError::Encoding(error.to_string()))?;
        let needed = gas.initial_total_gas().max(gas.floor_gas());
        if limit < needed {
            Err(TxError::IntrinsicGas { limit, needed })
        } else {
            Ok(())
        }
    }
}

/// Decodes the EIP-2718 bytes of a transaction. Blob transactions are refused.
pub fn decode(raw: &[u8]) -> Result<TxEnvelope, TxError> {
    if raw.len() > TX_BYTES_MAX {
        return Err(TxError::TooLong { found: raw.len() });
    }
    // Before decoding, because the network form of a blob transaction contains the blobs and is refused all the
    // same.
    if raw.first() == Some(&3) {
        return Err(TxError::Blobs);
    }
    decode_canonical(raw)
}

/// Decodes the EIP-2718 bytes of a transaction on a chain with blobs. A blob transaction must carry its blobs.
pub fn decode_with_blobs(raw: &[u8]) -> Result<TxEnvelope, TxError> {
    let max = if raw.first() == Some(&3) {
        BLOB_TX_BYTES_MAX
    } else {
        TX_BYTES_MAX
    };
    if raw.len() > max {
        return Err(TxError::TooLong { found: raw.len() });
    }
    decode_canonical(raw)
}

fn decode_canonical(raw: &[u8]) -> Result<TxEnvelope, TxError> {
    let mut rest = raw;
    let transaction = TxEnvelope::decode_2718(&mut rest).map_err(|error| TxError::Encoding(error.to_string()))?;
    if !rest.is_empty() {
        return Err(TxError::Encoding(format!("{} bytes follow it", rest.len())));
    }
    if transaction.encoded_2718() != raw {
        return Err(TxError::Encoding("it is not encoded canonically".into()));
    }
    Ok(transaction)
}

/// Checks that a blob transaction carries its blobs and names them by the hashes of their commitments. The
/// commitments are not proven to belong to the blobs: nothing that is served depends on the content of a blob.
fn check_blobs(transaction: &TxEip4844Variant) -> Result<(), TxError> {
    let wrong = |why: &str| TxError::Sidecar(why.to_owned());
    let TxEip4844Variant::TxEip4844WithSidecar(whole) = transaction else {
        return Err(wrong("it comes without its blobs"));
    };
    let named = &whole.tx.blob_versioned_hashes;
    if named.is_empty() {
        return Err(wrong("it names no blob"));
    }
    if !whole.sidecar.versioned_hashes().eq(named.iter().copied()) {
        return Err(wrong("its hashes are not those of its blobs' commitments"));
    }
    Ok(())
}

/// The most that a transaction can take from its sender; `None` if an amount cannot hold it.
fn cost(transaction: &TxEnvelope) -> Option<Amount> {
    let gas = U256::from(transaction.max_fee_per_gas()) * U256::from(transaction.gas_limit());
    let blobs = U256::from(transaction.max_fee_per_blob_gas().unwrap_or(0))
        * U256::from(transaction.blob_gas_used().unwrap_or(0));
    let total = gas.checked_add(transaction.value())?.checked_add(blobs)?;
    u128::try_from(total).ok().map(Amount)
}
