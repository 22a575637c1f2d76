//! Calls that change nothing (`eth_call`), and gas estimates (`eth_estimateGas`).

use alloy_consensus::Header;
use alloy_eips::{
    eip2930::AccessList, eip4844::DATA_GAS_PER_BLOB, eip7702::SignedAuthorization, eip7825::MAX_TX_GAS_LIMIT_OSAKA,
};
use alloy_evm::{Evm, EvmEnv};
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256};
use revm::{
    context::{
        TxEnv,
        result::{EVMError, ExecutionResult, HaltReason},
    },
    inspector::NoOpInspector,
    primitives::hardfork::SpecId,
};

use super::{
    At, View, ViewError,
    overrides::{OverrideError, Overrides, override_state},
    revert::{self, halt},
    sandbox::{SandboxError, balance, invalid_transaction_text, lenient_env, sandbox, sandbox_evm},
};
use crate::state::Kv;

/// Most gas of a call. A larger request is reduced to it.
pub const GAS_CAP: u64 = 50_000_000;

/// Gas stipend of a call with value; a caller keeps a 64th of its gas back from a nested call.
const STIPEND: u64 = 2_300;

/// A call, or the transaction to estimate. Absent fields get geth's defaults.
#[derive(Clone, Debug, Default)]
pub struct CallRequest {
    pub from: Address,
    /// `None` creates a contract.
    pub to: Option<Address>,
    /// Gas limit; [`GAS_CAP`] if absent.
    pub gas: Option<u64>,
    /// Most price per gas; free if absent.
    pub fee_cap: Option<u128>,
    /// Most price per gas that goes to the proposer.
    pub tip_cap: Option<u128>,
    /// Value in the smallest unit.
    pub value: U256,
    pub input: Bytes,
    /// Nonce, which simulations use.
    pub nonce: Option<u64>,
    pub access_list: AccessList,
    /// EIP-4844: hashes of the blobs.
    pub blobs: Vec<B256>,
    /// EIP-4844: most price per blob gas.
    pub blob_fee_cap: Option<u128>,
    /// EIP-7702: the accounts that delegate.
    pub authorizations: Vec<SignedAuthorization>,
}

impl CallRequest {
    /// The transaction for the EVM, with this gas limit.
    pub(crate) fn transaction(&self, chain_id: u64, gas: u64) -> Result<TxEnv, CallError> {
        let built = TxEnv::builder()
            .caller(self.from)
            .kind(self.to.map_or(TxKind::Create, TxKind::Call))
            .gas_limit(gas)
            .gas_price(self.fee_cap.unwrap_or(0))
            .gas_priority_fee(self.tip_cap)
            .nonce(self.nonce.unwrap_or(0))
            .value(self.value)
            .data(self.input.clone())
            .access_list(self.access_list.clone())
            .blob_hashes(self.blobs.clone())
            .max_fee_per_blob_gas(self.blob_fee_cap.unwrap_or(0))
            .authorization_list_signed(self.authorizations.clone())
            .chain_id(Some(chain_id))
            .build();
        built.map_err(|error| CallError::Invalid(format!("{error:?}")))
    }
}

/// The result of a call that ran. A call that could not run is a [`CallError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Returned {
        output: Bytes,
        gas_used: u64,
        logs: Vec<Log>,
    },
    Reverted {
        output: Bytes,
        /// The message in `output`, if it has one.
        reason: Option<String>,
        gas_used: u64,
    },
    /// The call stopped for another reason, such as too little gas.
    Halted {
        reason: String,
        /// True if more gas might help.
        out_of_gas: bool,
        gas_used: u64,
    },
}

/// Reason that a call was not run. A call that runs and reverts is a [`CallOutcome`].
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    View(#[from] ViewError),
    /// The request contradicts itself or the sender's account.
    #[error("{0}")]
    Invalid(String),
    /// The state of this node cannot be read.
    #[error("{0}")]
    State(String),
}

/// Reason that [`View::estimate_gas`] has no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateError {
    #[error(transparent)]
    Call(#[from] CallError),
    /// The transaction reverts with any amount of gas.
    #[error("execution reverted{}{}", if reason.is_some() { ": " } else { "" }, reason.as_deref().unwrap_or(""))]
    Reverted {
        output: Bytes,
        /// The message in `output`, if it has one.
        reason: Option<String>,
    },
    /// The transaction fails with any amount of gas.
    #[error("{0}")]
    Halted(String),
    /// The gas that one transaction may use is not enough.
    #[error("gas required exceeds allowance ({0})")]
    TooMuch(u64),
}

impl<K: Kv> View<K> {
    /// Makes a call on the state after a block and drops its changes (`eth_call`).
    pub fn call(&self, request: &CallRequest, at: At, overrides: &Overrides) -> Result<CallOutcome, CallError> {
        let (header, db) = self.database(at)?;
        let env = self.environment(request, &header, overrides)?;
        let mut sandbox = sandbox(&self.spec, db);
        let mut evm = sandbox_evm(&mut sandbox, env, NoOpInspector);
        override_state(&mut evm, &overrides.state)?;
        let gas = request.gas.unwrap_or(GAS_CAP).min(GAS_CAP);
        attempt(&mut evm, request.transaction(self.spec.chain_id, gas)?)
    }

    /// The least gas with which a transaction succeeds, or up to 1.5 % more (`eth_estimateGas`).
    pub fn estimate_gas(&self, request: &CallRequest, at: At, overrides: &Overrides) -> Result<u64, EstimateError> {
        let (header, db) = self.database(at).map_err(CallError::from)?;
        let env = self.environment(request, &header, overrides)?;
        let mut high = env.block_env.gas_limit.min(GAS_CAP);
        if env.cfg_env.spec.is_enabled_in(SpecId::OSAKA) {
            high = high.min(MAX_TX_GAS_LIMIT_OSAKA);
        }
        let mut sandbox = sandbox(&self.spec, db);
        let mut evm = sandbox_evm(&mut sandbox, env, NoOpInspector);
        override_state(&mut evm, &overrides.state).map_err(CallError::from)?;
        let balance = balance(evm.db_mut(), request.from).map_err(|error| CallError::State(error.to_string()))?;
        high = high.min(request.gas.unwrap_or(high)).min(affordable(request, balance)?);
        let mut attempt = |gas: u64| attempt(&mut evm, request.transaction(self.spec.chain_id, gas)?);

        let used = match attempt(high) {
            Ok(CallOutcome::Returned { gas_used, .. }) => gas_used,
            Ok(CallOutcome::Reverted { output, reason, .. }) => return Err(EstimateError::Reverted { output, reason }),
            Ok(CallOutcome::Halted { out_of_gas: true, .. }) => return Err(EstimateError::TooMuch(high)),
            Ok(CallOutcome::Halted { reason, .. }) => return Err(EstimateError::Halted(reason)),
            Err(error) => return Err(error.into()),
        };
        // Most transactions need exactly the gas that they used.
        if matches!(attempt(used), Ok(CallOutcome::Returned { .. })) {
            return Ok(used);
        }
        // Refunds and nested calls need more. The first guess adds what nested calls keep back.
        let mut low = used;
        let guess = (used + STIPEND).saturating_mul(64) / 63;
        let mut middle = if guess < high { guess } else { low + (high - low) / 2 };
        while low + 1 < high && (high - low) * 1_000 > high * 15 {
            match attempt(middle) {
                Ok(CallOutcome::Returned { .. }) => high = middle,
                // Too little gas to start counts as too little.
                Ok(_) | Err(CallError::Invalid(_)) => low = middle,
                Err(error) => return Err(error.into()),
            }
            middle = low + (high - low) / 2;
        }
        Ok(high)
    }

    /// The EVM environment of a call. A call without a price pays none.
    pub(crate) fn environment(
        &self,
        request: &CallRequest,
        header: &Header,
        overrides: &Overrides,
    ) -> Result<EvmEnv, CallError> {
        let mut env = lenient_env(&self.spec, header);
        overrides.block.apply(&mut env.block_env)?;
        if request.fee_cap.unwrap_or(0) == 0 {
            env.block_env.basefee = 0;
        }
        if let Some(blob) = &mut env.block_env.blob_excess_gas_and_price
            && request.blob_fee_cap.unwrap_or(0) == 0
        {
            blob.blob_gasprice = 0;
        }
        Ok(env)
    }
}

/// The gas that the sender can pay for; unlimited if the request has no price.
fn affordable(request: &CallRequest, balance: U256) -> Result<u64, CallError> {
    let Some(price) = request.fee_cap.filter(|price| *price > 0) else {
        return Ok(u64::MAX);
    };
    let blobs =
        U256::from(request.blob_fee_cap.unwrap_or(0)) * U256::from(request.blobs.len()) * U256::from(DATA_GAS_PER_BLOB);
    let fixed = request.value.saturating_add(blobs);
    let left = balance
        .checked_sub(fixed)
        .ok_or_else(|| CallError::Invalid(format!("insufficient funds for transfer: have {balance} want {fixed}")))?;
    Ok((left / U256::from(price)).saturating_to())
}

/// Runs a transaction and drops its changes.
fn attempt<E>(evm: &mut E, transaction: TxEnv) -> Result<CallOutcome, CallError>
where
    E: Evm<Tx = TxEnv, HaltReason = HaltReason>,
    E::Error: Into<SandboxError>,
{
    let result = evm
        .transact_raw(transaction)
        .map_err(|error| CallError::from(error.into()))?
        .result;
    Ok(CallOutcome::from(result))
}

impl From<ExecutionResult> for CallOutcome {
    fn from(result: ExecutionResult) -> Self {
        let gas_used = result.tx_gas_used();
        match result {
            ExecutionResult::Success { output, logs, .. } => Self::Returned {
                output: output.into_data(),
                gas_used,
                logs,
            },
            ExecutionResult::Revert { output, .. } => Self::Reverted {
                reason: revert::reason(&output),
                output,
                gas_used,
            },
            ExecutionResult::Halt { reason, .. } => Self::Halted {
                out_of_gas: matches!(reason, HaltReason::OutOfGas(_)),
                reason: halt(&reason),
                gas_used,
            },
        }
    }
}

impl From<SandboxError> for CallError {
    fn from(why: SandboxError) -> Self {
        match why {
            EVMError::Transaction(why) => Self::Invalid(invalid_transaction_text(&why)),
            EVMError::Header(why) => Self::Invalid(why.to_string()),
            other => Self::State(other.to_string()),
        }
    }
}

impl From<OverrideError> for CallError {
    fn from(why: OverrideError) -> Self {
        Self::Invalid(why.to_string())
    }
}
