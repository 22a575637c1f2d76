//! Transactions at the door: bytes from a wallet or a peer become a [`Pooled`] transaction, or are refused with the reason.
//!
//! Everything is checked that holds whatever the state is; nonce and balance are the mempool's to compare.

use std::sync::Arc;

use alloy_consensus::{Header, Transaction, TxEip4844Variant, TxEnvelope, transaction::Recovered};
use alloy_eips::{Decodable2718, Encodable2718, eip7825::MAX_TX_GAS_LIMIT_OSAKA};
use alloy_evm::FromRecoveredTx;
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::U256;
use consensus::mempool::Pooled;
use protocol::{Account, Amount, TxHash};
use rayon::prelude::*;
use revm::{
    context::TxEnv,
    handler::validation::validate_initial_tx_gas,
    primitives::{eip3860::MAX_INITCODE_SIZE, hardfork::SpecId},
};

use crate::{chain::ChainSpec, senders::SenderCache};

/// The largest encoding of a transaction.
pub const TX_BYTES_MAX: usize = 128 << 10;

/// The largest encoding of a transaction with its blobs, on chains that have them.
pub const BLOB_TX_BYTES_MAX: usize = 1 << 20;

/// Why a transaction is refused, whatever the state is. The wording follows what Ethereum's nodes say where wallets
/// look for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    /// Longer than any transaction.
    #[error("oversized data: transaction size {found}, limit {TX_BYTES_MAX}")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not the one encoding of a transaction.
    #[error("not a transaction: {0}")]
    Encoding(String),
    /// It carries blobs.
    #[error(
        "blob transactions (EIP-4844, type 3) are not supported on this chain; send the data as calldata or off chain"
    )]
    Blobs,
    /// It carries blobs where it may, but wrong ones.
    #[error("invalid blob transaction: {0}")]
    Sidecar(String),
    /// For another chain.
    #[error("invalid chain id for signer: have {found} want {wanted}")]
    Chain {
        /// The chain it is for.
        found: u64,
        /// This chain.
        wanted: u64,
    },
    /// Replayable on any chain.
    #[error("only replay-protected (EIP-155) transactions are accepted; sign for chain id {0}")]
    Unprotected(u64),
    /// Its signature names no sender.
    #[error("invalid sender: the signature is invalid or has a high s")]
    Sender,
    /// Not enough gas to begin with.
    #[error("intrinsic gas too low: gas {limit}, minimum needed {needed}")]
    IntrinsicGas {
        /// What it brings.
        limit: u64,
        /// What it needs.
        needed: u64,
    },
    /// More gas than one transaction may use (EIP-7825), or than a block has.
    #[error("gas limit {limit} is above the {max} that a transaction may use")]
    GasLimit {
        /// What it asks for.
        limit: u64,
        /// What it may.
        max: u64,
    },
    /// Contradicts itself.
    #[error("max priority fee per gas higher than max fee per gas: {tip} > {cap}")]
    TipAboveCap {
        /// The tip.
        tip: u128,
        /// The cap.
        cap: u128,
    },
    /// More than there is.
    #[error("value and gas cost more than all OPEN there is")]
    Cost,
    /// No block could use its nonce.
    #[error("nonce has max value")]
    NonceMax,
    /// Creates a contract with too much code.
    #[error("max initcode size exceeded: code size {found}, limit {MAX_INITCODE_SIZE}")]
    InitCode {
        /// Its length.
        found: usize,
    },
    /// Delegates nothing, or creates a contract while it delegates (EIP-7702).
    #[error("a set-code transaction (EIP-7702) needs a non-empty authorization list and a destination")]
    SetCode,
}

/// What the chain demands of every transaction.
#[derive(Clone, Debug)]
pub struct Door {
    /// The chain's id.
    pub chain_id: u64,
    /// Gas in a block.
    pub block_gas_limit: u64,
    /// Remembers who sent what.
    pub senders: SenderCache,
    rules: SpecId,
    blobs: bool,
}

impl Door {
    /// The door of this project's own chain.
    pub fn new(chain_id: u64, block_gas_limit: u64, senders: SenderCache) -> Self {
        Self {
            chain_id,
            block_gas_limit,
            senders,
            rules: SpecId::OSAKA,
            blobs: false,
        }
    }

    /// The door of a foreign chain with this head: blob transactions come in where the chain has them.
    pub(crate) fn foreign(spec: &ChainSpec, head: &Header, senders: SenderCache) -> Self {
        Self {
            rules: spec.evm_env(head).cfg_env.spec,
            blobs: spec.is_cancun_active_at_timestamp(head.timestamp),
            ..Self::new(spec.chain_id, head.gas_limit, senders)
        }
    }

    /// Decodes and checks one transaction and finds its sender.
    pub fn recover(&self, raw: &[u8]) -> Result<Recovered<TxEnvelope>, TxError> {
        let transaction = if self.blobs { decode_foreign(raw)? } else { decode(raw)? };
        self.check(&transaction)?;
        let transaction = self.senders.recover(transaction).ok_or(TxError::Sender)?;
        self.check_gas(&transaction)?;
        Ok(transaction)
    }

    /// Decodes and checks one transaction for the mempool.
    pub fn admit(&self, raw: &Arc<[u8]>) -> Result<Pooled, TxError> {
        let transaction = self.recover(raw)?;
        Ok(Pooled {
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

    /// Decodes and checks many transactions in parallel; the answers are in the order of the questions.
    pub fn admit_all(&self, raw: &[Arc<[u8]>]) -> Vec<Result<Pooled, TxError>> {
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

    /// EIP-2028 and its successors, the floor of EIP-7623, the cap of EIP-7825.
    fn check_gas(&self, transaction: &Recovered<TxEnvelope>) -> Result<(), TxError> {
        let capped = self.rules.is_enabled_in(SpecId::OSAKA);
        let most = if capped { MAX_TX_GAS_LIMIT_OSAKA } else { u64::MAX };
        let (limit, max) = (transaction.gas_limit(), most.min(self.block_gas_limit));
        if limit > max {
            return Err(TxError::GasLimit { limit, max });
        }
        // Asked with all the gas there is, it says what is needed instead of which of the two rules failed first.
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

/// Decodes the EIP-2718 bytes of a transaction.
pub fn decode(raw: &[u8]) -> Result<TxEnvelope, TxError> {
    if raw.len() > TX_BYTES_MAX {
        return Err(TxError::TooLong { found: raw.len() });
    }
    // Before decoding: the network form of a blob transaction carries the blobs and is refused all the same.
    if raw.first() == Some(&3) {
        return Err(TxError::Blobs);
    }
    decode_canonical(raw)
}

/// Decodes the EIP-2718 bytes of a transaction of a foreign chain; one with blobs in the form that carries them.
pub fn decode_foreign(raw: &[u8]) -> Result<TxEnvelope, TxError> {
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

/// A blob transaction comes with its blobs, and names them by the hashes of their commitments. Whether the commitments
/// are those of the blobs is not proven here: nothing that is served depends on what a blob says.
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

/// The most a transaction can take from its sender, `None` past what an amount can hold.
fn cost(transaction: &TxEnvelope) -> Option<Amount> {
    let gas = U256::from(transaction.max_fee_per_gas()) * U256::from(transaction.gas_limit());
    let blobs = U256::from(transaction.max_fee_per_blob_gas().unwrap_or(0))
        * U256::from(transaction.blob_gas_used().unwrap_or(0));
    let total = gas.checked_add(transaction.value())?.checked_add(blobs)?;
    u128::try_from(total).ok().map(Amount)
}
