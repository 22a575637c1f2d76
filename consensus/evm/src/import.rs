//! Foreign blocks: decoded blocks of any fork, run on their parent and compared with their own header.
//!
//! Checks what any Ethereum client checks of a block, except proof of work and uncles' headers. Blocks of this chain
//! have stricter rules, in [`crate::block`].

use alloy_consensus::{
    Block, BlockHeader, Header, Transaction, TxEnvelope, proofs,
    transaction::{Recovered, SignerRecoverable},
};
use alloy_hardforks::EthereumHardforks;
use rayon::prelude::*;
use revm::DatabaseRef;

use crate::{
    chain::ChainSpec,
    execute::{ExecuteError, Executed, Frame, RootOf, execute},
    seal::{Mismatch, compare},
};

/// Uncles a block may list, before the merge.
const OMMERS_MAX: usize = 2;
/// How many generations back they may be.
const OMMER_DEPTH_MAX: u64 = 6;

/// Why a foreign block is refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Its header contradicts its parent or its body.
    #[error("header: {0}")]
    Header(String),
    /// A signature names no sender.
    #[error("transaction {0} has no valid signature")]
    Sender(usize),
    /// It could not be executed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// Its header does not say what execution found.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// Executes a foreign block on its parent. Comparing the state root is left to the caller, who has the state.
pub fn run<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    db: DB,
    parent: &Header,
    block: &Block<TxEnvelope>,
    root_of: RootOf<'_>,
) -> Result<Executed, ImportError> {
    check_header(spec, parent, block).map_err(ImportError::Header)?;
    let transactions = recover(spec, block)?;
    let frame = Frame {
        header: &block.header,
        ommers: &block.body.ommers,
        withdrawals: block.body.withdrawals.as_ref(),
    };
    let executed = execute(spec, db, frame, &transactions, root_of)?;
    compare(&block.header, &executed, spec)?;
    Ok(executed)
}

/// The transactions of a block with their senders. Before Homestead a signature may have a high `s`.
fn recover(spec: &ChainSpec, block: &Block<TxEnvelope>) -> Result<Vec<Recovered<TxEnvelope>>, ImportError> {
    let low_s = spec.is_homestead_active_at_block(block.header.number);
    let recover = |(index, transaction): (usize, &TxEnvelope)| {
        let sender = if low_s {
            transaction.recover_signer()
        } else {
            transaction.recover_signer_unchecked()
        };
        let sender = sender.map_err(|_| ImportError::Sender(index))?;
        Ok(Recovered::new_unchecked(transaction.clone(), sender))
    };
    block.body.transactions.par_iter().enumerate().map(recover).collect()
}

fn check_header(spec: &ChainSpec, parent: &Header, block: &Block<TxEnvelope>) -> Result<(), String> {
    let header = &block.header;
    let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    ensure(
        header.number == parent.number + 1,
        "the number does not follow the parent's",
    )?;
    ensure(
        header.timestamp > parent.timestamp,
        "the timestamp is not above the parent's",
    )?;
    ensure(header.extra_data.len() <= 32, "the extra data is longer than 32 bytes")?;
    ensure(header.gas_used <= header.gas_limit, "more gas is used than allowed")?;
    ensure(
        gas_limit_follows(spec, parent, header),
        "the gas limit moves too far from the parent's",
    )?;
    ensure(
        header.base_fee_per_gas == spec.next_base_fee(parent),
        "the base fee is not what EIP-1559 gives",
    )?;
    let transactions_root = proofs::calculate_transaction_root(&block.body.transactions);
    ensure(
        header.transactions_root == transactions_root,
        "the transactions root is not that of the body",
    )?;
    let ommers_hash = proofs::calculate_ommers_root(&block.body.ommers);
    // Their depth matters before execution: the reward of an uncle shrinks with it to nothing.
    let ommers = &block.body.ommers;
    let near = |ommer: &Header| ommer.number < header.number && header.number - ommer.number <= OMMER_DEPTH_MAX;
    ensure(
        ommers.len() <= OMMERS_MAX && ommers.iter().all(near),
        "its uncles are too many or too old",
    )?;
    ensure(
        header.ommers_hash == ommers_hash,
        "the ommers hash is not that of the body",
    )?;
    let withdrawals = block.body.withdrawals.as_ref();
    ensure(
        withdrawals.is_some() == spec.is_shanghai_active_at_timestamp(header.timestamp),
        "withdrawals are missing or too early",
    )?;
    let withdrawals_root = withdrawals.map(|list| proofs::calculate_withdrawals_root(list));
    ensure(
        header.withdrawals_root == withdrawals_root,
        "the withdrawals root is not that of the body",
    )?;
    check_blobs(spec, parent, block)
}

/// A limit may move by less than 1/1024 of the parent's, which counts twice at the first block of London (EIP-1559).
fn gas_limit_follows(spec: &ChainSpec, parent: &Header, header: &Header) -> bool {
    let starts_london = spec.is_london_active_at_block(header.number) && !spec.is_london_active_at_block(parent.number);
    let before = if starts_london {
        parent.gas_limit.saturating_mul(2)
    } else {
        parent.gas_limit
    };
    header.gas_limit.abs_diff(before) < before / 1024 && header.gas_limit >= 5000
}

fn check_blobs(spec: &ChainSpec, parent: &Header, block: &Block<TxEnvelope>) -> Result<(), String> {
    let header = &block.header;
    let Some(params) = spec.blob_params_at(header.timestamp) else {
        let clean = header.blob_gas_used.is_none() && header.excess_blob_gas.is_none();
        return if clean {
            Ok(())
        } else {
            Err("blob fields before Cancun".into())
        };
    };
    let used: u64 = block
        .body
        .transactions
        .iter()
        .filter_map(Transaction::blob_gas_used)
        .sum();
    if header.blob_gas_used != Some(used) || used > params.max_blob_gas_per_block() {
        return Err("the blob gas is not that of the body, or above the limit".into());
    }
    let excess = parent.maybe_next_block_excess_blob_gas(Some(params)).unwrap_or(0);
    if header.excess_blob_gas != Some(excess) {
        return Err(format!("the excess blob gas should be {excess}"));
    }
    Ok(())
}
