//! One transaction on a state, outside any block: calls, estimates, state tests.

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
    execute::{close, open},
};

/// Why a transaction was not run.
#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    /// It breaks a rule.
    #[error("{0}")]
    Invalid(InvalidTransaction),
    /// The state could not be read, or the environment makes no sense.
    #[error("state could not be read: {0}")]
    State(String),
}

/// Runs one transaction; the state itself stays as it is, what would change is returned.
pub fn transact<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    env: EvmEnv,
    db: DB,
    transaction: TxEnv,
) -> Result<(ExecutionResult, BundleState), TransactError> {
    let mut state = open(spec, db);
    let outcome = EthEvmFactory::default()
        .create_evm(&mut state, env)
        .transact(transaction);
    let outcome = outcome.map_err(|error| match error {
        EVMError::Transaction(why) => TransactError::Invalid(why),
        other => TransactError::State(other.to_string()),
    })?;
    state.commit(outcome.state);
    Ok((outcome.result, close(spec, state)))
}
