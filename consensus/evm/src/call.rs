//! One transaction on a state, outside any block: calls, estimates, state tests.

use alloy_evm::{EthEvmFactory, Evm, EvmEnv, EvmFactory};
use revm::{
    DatabaseCommit, DatabaseRef,
    context::{TxEnv, result::{EVMError, ExecutionResult, InvalidTransaction}},
    database::{BundleState, State, WrapDatabaseRef, states::bundle_state::BundleRetention},
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
    env: EvmEnv,
    db: DB,
    transaction: TxEnv,
) -> Result<(ExecutionResult, BundleState), TransactError> {
    let mut state = State::builder().with_database(WrapDatabaseRef(db)).with_bundle_update().build();
    let outcome = EthEvmFactory::default().create_evm(&mut state, env).transact(transaction);
    let outcome = outcome.map_err(|error| match error {
        EVMError::Transaction(why) => TransactError::Invalid(why),
        other => TransactError::State(other.to_string()),
    })?;
    state.commit(outcome.state);
    state.merge_transitions(BundleRetention::PlainState);
    Ok((outcome.result, state.take_bundle()))
}
