//! Checks and executes one block of an imported chain, of any fork, on its parent.
//!
//! Makes the checks of any Ethereum client, except proof of work and the headers of uncles. Blocks of this
//! project's chain have stricter rules, in [`crate::block`].

use alloy_consensus::{
    Block, BlockHeader, Header, Transaction, TxEnvelope, proofs,
    transaction::{Recovered, SignerRecoverable},
};
use alloy_hardforks::EthereumHardforks;
use rayon::prelude::*;
use revm::DatabaseRef;

use crate::{
    chain::ChainSpec,
    execute::{BlockParts, ExecuteError, Executed, RootOf, execute},
    seal::{Mismatch, compare},
};

/// Most uncles of a block, before the merge.
const OMMERS_MAX: usize = 2;
/// Most generations between a block and its uncle.
const OMMER_DEPTH_MAX: u64 = 6;

/// Reason that a block of an imported chain is refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The header contradicts its parent or its body.
    #[error("header: {0}")]
    Header(String),
    /// The signature of the transaction at this index is invalid.
    #[error("transaction {0} has no valid signature")]
    Sender(usize),
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// Execution gave another result than the header claims.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// Executes a block on its parent and compares the result with its header, except for the state root: the caller
/// has the state and compares that.
pub fn execute_block<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    db: DB,
    parent: &Header,
    block: &Block<TxEnvelope>,
    root_of: RootOf<'_>,
) -> Result<Executed, ImportError> {
    check_header(spec, parent, block).map_err(ImportError::Header)?;
    let transactions = recover(spec, block)?;
    let parts = BlockParts {
        header: &block.header,
        ommers: &block.body.ommers,
        withdrawals: block.body.withdrawals.as_ref(),
    };
    let executed = execute(spec, db, parts, &transactions, root_of)?;
    compare(&block.header, &executed, spec)?;
    Ok(executed)
}

/// Recovers the senders of a block's transactions. Before Homestead a signature may have a high `s` (EIP-2).
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
    // The depth matters before execution: an uncle's reward shrinks with it to nothing.
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

/// A gas limit may differ from its parent's by less than 1/1024. At the first block of London the parent's limit
/// counts twice (EIP-1559).
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
