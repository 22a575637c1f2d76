//! Runs one transaction on a state, outside any block, for calls, estimates and state tests.

use alloy_evm::{EthEvmFactory, Evm, EvmEnv, EvmFactory};
use revm::{
    DatabaseCommit, DatabaseRef,
    context::{
        TxEnv,
        result::{EVMError, ExecutionResult, InvalidTransaction},
    },
    database::BundleState,
};

use crate::{
    chain::ChainSpec,
    execute::{overlay, take_changes},
};

/// Reason that [`transact`] did not run a transaction. A transaction that runs and reverts is no error.
#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    /// The transaction breaks a rule.
    #[error("{0}")]
    Invalid(InvalidTransaction),
    /// The state could not be read, or the environment is inconsistent.
    #[error("state could not be read: {0}")]
    State(String),
}

/// Runs one transaction and returns its result and its state changes. The state itself does not change.
pub fn transact<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    env: EvmEnv,
    db: DB,
    transaction: TxEnv,
) -> Result<(ExecutionResult, BundleState), TransactError> {
    let mut state = overlay(spec, db);
    let outcome = EthEvmFactory::default()
        .create_evm(&mut state, env)
        .transact(transaction);
    let outcome = outcome.map_err(|error| match error {
        EVMError::Transaction(why) => TransactError::Invalid(why),
        other => TransactError::State(other.to_string()),
    })?;
    state.commit(outcome.state);
    Ok((outcome.result, take_changes(spec, state)))
}
