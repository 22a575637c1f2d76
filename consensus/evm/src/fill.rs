//! Fills a block with those candidate transactions that are valid and fit.

use alloy_consensus::{TxEnvelope, transaction::Recovered};
use alloy_evm::block::{BlockExecutionError, BlockExecutor, BlockValidationError};
use revm::{DatabaseRef, context::result::InvalidTransaction};

use crate::{
    chain::ChainSpec,
    execute::{BlockParts, ExecuteError, Executed, begin_block, end_block, overlay, take_changes, transaction_error},
};

/// Reason that a candidate is not in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// A later block may include it.
    Later,
    /// It breaks a rule of the EVM.
    Invalid(InvalidTransaction),
}

/// The result of [`fill`]. Every candidate is either included or skipped.
#[derive(Clone, Debug)]
pub struct Filled {
    pub executed: Executed,
    /// Positions of the included candidates, in order.
    pub included: Vec<usize>,
    /// Positions of the other candidates, with the reason.
    pub skipped: Vec<(usize, Skipped)>,
}

/// Executes the candidates in order and keeps those that are valid and fit: into the gas limit of the header, and
/// with their `sizes` into `bytes_left` bytes.
pub fn fill<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    db: DB,
    parts: BlockParts<'_>,
    candidates: &[Recovered<TxEnvelope>],
    sizes: &[usize],
    mut bytes_left: usize,
) -> Result<Filled, ExecuteError> {
    let mut state = overlay(spec, db);
    let (mut included, mut skipped) = (Vec::new(), Vec::new());
    let mut executed = {
        let mut executor = begin_block(spec, &mut state, parts)?;
        for (index, transaction) in candidates.iter().enumerate() {
            // A smaller candidate may still fit, so the loop goes on.
            if sizes[index] > bytes_left {
                skipped.push((index, Skipped::Later));
                continue;
            }
            match executor.execute_transaction_without_commit(transaction) {
                Ok(output) => {
                    executor.commit_transaction(output);
                    included.push(index);
                    bytes_left -= sizes[index];
                }
                Err(error) => skipped.push((index, skip_reason(index, error)?)),
            }
        }
        end_block(spec, executor, parts.header)?
    };
    executed.changes = take_changes(spec, state);
    Ok(Filled {
        executed,
        included,
        skipped,
    })
}

fn skip_reason(index: usize, error: BlockExecutionError) -> Result<Skipped, ExecuteError> {
    match error {
        BlockExecutionError::Validation(BlockValidationError::InvalidTx { error, .. }) => {
            let why = error.as_invalid_tx_err().cloned();
            Ok(why.map_or(Skipped::Later, Skipped::Invalid))
        }
        BlockExecutionError::Validation(BlockValidationError::TransactionGasLimitMoreThanAvailableBlockGas {
            ..
        }) => Ok(Skipped::Later),
        other => Err(transaction_error(index, other)),
    }
}
