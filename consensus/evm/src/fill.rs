//! Filling a block: of the transactions on offer those that are valid and fit.

use alloy_consensus::{TxEnvelope, transaction::Recovered};
use alloy_evm::block::{BlockExecutionError, BlockExecutor, BlockValidationError};
use revm::{DatabaseRef, context::result::InvalidTransaction};

use crate::{
    chain::ChainSpec,
    execute::{ExecuteError, Executed, Frame, close, finish, open, refuse, start},
};

/// What a builder does with a transaction that was not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// It may fit a later block.
    ForLater,
    /// It breaks a rule, and says which.
    Invalid(InvalidTransaction),
}

/// What came of filling a block.
#[derive(Clone, Debug)]
pub struct Filled {
    /// What the included transactions did.
    pub executed: Executed,
    /// Which candidates they are, by position, in order.
    pub included: Vec<usize>,
    /// Which are not in it, by position, and why.
    pub left: Vec<(usize, Left)>,
}

/// Executes those of `candidates` that are valid and fit, in order: into the gas of the header, and with their `sizes`
/// into `room` bytes.
pub fn fill<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    db: DB,
    frame: Frame<'_>,
    candidates: &[Recovered<TxEnvelope>],
    sizes: &[usize],
    mut room: usize,
) -> Result<Filled, ExecuteError> {
    let mut state = open(spec, db);
    let (mut included, mut left) = (Vec::new(), Vec::new());
    let mut executed = {
        let mut executor = start(spec, &mut state, frame)?;
        for (index, transaction) in candidates.iter().enumerate() {
            if sizes[index] > room {
                left.push((index, Left::ForLater));
                continue;
            }
            match executor.execute_transaction_without_commit(transaction) {
                Ok(output) => {
                    executor.commit_transaction(output);
                    included.push(index);
                    room -= sizes[index];
                }
                Err(error) => left.push((index, leave(index, error)?)),
            }
        }
        finish(spec, executor, frame.header)?
    };
    executed.changes = close(spec, state);
    Ok(Filled {
        executed,
        included,
        left,
    })
}

fn leave(index: usize, error: BlockExecutionError) -> Result<Left, ExecuteError> {
    match error {
        BlockExecutionError::Validation(BlockValidationError::InvalidTx { error, .. }) => {
            let why = error.as_invalid_tx_err().cloned();
            Ok(why.map_or(Left::ForLater, Left::Invalid))
        }
        BlockExecutionError::Validation(BlockValidationError::TransactionGasLimitMoreThanAvailableBlockGas {
            ..
        }) => Ok(Left::ForLater),
        other => Err(refuse(index, other)),
    }
}
