//! Calls that change nothing, and how much gas a transaction would need.

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
    stage::{PlayError, balance, player, refusal, relaxed, stage},
};
use crate::state::Kv;

/// The most gas a call may use, whatever it asks for.
pub const GAS_CAP: u64 = 50_000_000;

/// Gas that a call hands on for nothing; what a nested call keeps back is a 64th.
const STIPEND: u64 = 2_300;

/// What is called.
#[derive(Clone, Debug, Default)]
pub struct CallRequest {
    /// As whom.
    pub from: Address,
    /// Whom; creates a contract if there is nobody.
    pub to: Option<Address>,
    /// Gas at most.
    pub gas: Option<u64>,
    /// Price of gas at most; free if left out.
    pub fee_cap: Option<u128>,
    /// Most of it that goes to the proposer.
    pub tip_cap: Option<u128>,
    /// What is sent along, in the smallest unit.
    pub value: U256,
    /// The call's data.
    pub input: Bytes,
    /// Its place in the sender's order, where that matters.
    pub nonce: Option<u64>,
    /// EIP-2930.
    pub access_list: AccessList,
    /// EIP-4844: the blobs it names.
    pub blobs: Vec<B256>,
    /// EIP-4844: price of blob gas at most.
    pub blob_fee_cap: Option<u128>,
    /// EIP-7702: accounts that delegate.
    pub authorizations: Vec<SignedAuthorization>,
}

impl CallRequest {
    /// The transaction, with this much gas.
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

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It returned.
    Returned {
        /// With this.
        output: Bytes,
        /// Gas it used.
        gas_used: u64,
        /// What it logged.
        logs: Vec<Log>,
    },
    /// It reverted.
    Reverted {
        /// With this.
        output: Bytes,
        /// What that says, if it says anything.
        reason: Option<String>,
        /// Gas it used.
        gas_used: u64,
    },
    /// It stopped for another reason, such as too little gas.
    Halted {
        /// Which.
        reason: String,
        /// Whether more gas might have helped.
        out_of_gas: bool,
        /// Gas it used.
        gas_used: u64,
    },
}

/// Why a call was not made.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Its state is not there.
    #[error(transparent)]
    View(#[from] ViewError),
    /// It contradicts itself or the sender's account.
    #[error("{0}")]
    Invalid(String),
    /// This node's state cannot be read.
    #[error("{0}")]
    State(String),
}

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateError {
    /// It cannot be tried.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It reverts however much gas it has.
    #[error("execution reverted{}{}", if reason.is_some() { ": " } else { "" }, reason.as_deref().unwrap_or(""))]
    Reverted {
        /// With this.
        output: Bytes,
        /// What that says, if it says anything.
        reason: Option<String>,
    },
    /// It fails however much gas it has.
    #[error("{0}")]
    Halted(String),
    /// No amount of gas that a transaction may have is enough.
    #[error("gas required exceeds allowance ({0})")]
    TooMuch(u64),
}

impl<K: Kv> View<K> {
    /// Makes a call on a state and forgets what it changed (`eth_call`).
    pub fn call(&self, request: &CallRequest, at: At, overrides: &Overrides) -> Result<CallOutcome, CallError> {
        let (header, db) = self.database(at)?;
        let env = self.environment(request, &header, overrides)?;
        let mut stage = stage(&self.spec, db);
        let mut player = player(&mut stage, env, NoOpInspector);
        override_state(&mut player, &overrides.state)?;
        let gas = request.gas.unwrap_or(GAS_CAP).min(GAS_CAP);
        attempt(&mut player, request.transaction(self.spec.chain_id, gas)?)
    }

    /// The least gas with which a transaction would not fail, up to 1.5 % more (`eth_estimateGas`).
    pub fn estimate_gas(&self, request: &CallRequest, at: At, overrides: &Overrides) -> Result<u64, EstimateError> {
        let (header, db) = self.database(at).map_err(CallError::from)?;
        let env = self.environment(request, &header, overrides)?;
        let mut high = env.block_env.gas_limit.min(GAS_CAP);
        if env.cfg_env.spec.is_enabled_in(SpecId::OSAKA) {
            high = high.min(MAX_TX_GAS_LIMIT_OSAKA);
        }
        let mut stage = stage(&self.spec, db);
        let mut player = player(&mut stage, env, NoOpInspector);
        override_state(&mut player, &overrides.state).map_err(CallError::from)?;
        let balance = balance(player.db_mut(), request.from).map_err(|error| CallError::State(error.to_string()))?;
        high = high.min(request.gas.unwrap_or(high)).min(affordable(request, balance)?);
        let mut attempt = |gas: u64| attempt(&mut player, request.transaction(self.spec.chain_id, gas)?);

        let used = match attempt(high) {
            Ok(CallOutcome::Returned { gas_used, .. }) => gas_used,
            Ok(CallOutcome::Reverted { output, reason, .. }) => return Err(EstimateError::Reverted { output, reason }),
            Ok(CallOutcome::Halted { out_of_gas: true, .. }) => return Err(EstimateError::TooMuch(high)),
            Ok(CallOutcome::Halted { reason, .. }) => return Err(EstimateError::Halted(reason)),
            Err(error) => return Err(error.into()),
        };
        // Mostly a transaction runs with what it used, and then that is the answer.
        if matches!(attempt(used), Ok(CallOutcome::Returned { .. })) {
            return Ok(used);
        }
        // With refunds or nested calls it takes more; the first guess adds what those keep back.
        let mut low = used;
        let guess = (used + STIPEND).saturating_mul(64) / 63;
        let mut middle = if guess < high { guess } else { low + (high - low) / 2 };
        while low + 1 < high && (high - low) * 1_000 > high * 15 {
            match attempt(middle) {
                Ok(CallOutcome::Returned { .. }) => high = middle,
                // Too little even to begin with counts as too little.
                Ok(_) | Err(CallError::Invalid(_)) => low = middle,
                Err(error) => return Err(error.into()),
            }
            middle = low + (high - low) / 2;
        }
        Ok(high)
    }

    /// What the EVM is told: the block's environment, in which a call that names no price pays none.
    pub(crate) fn environment(
        &self,
        request: &CallRequest,
        header: &Header,
        overrides: &Overrides,
    ) -> Result<EvmEnv, CallError> {
        let mut env = relaxed(&self.spec, header);
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

/// The gas that the sender can pay for, if a price is named.
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

/// Runs a transaction and forgets what it changed.
fn attempt<E>(player: &mut E, transaction: TxEnv) -> Result<CallOutcome, CallError>
where
    E: Evm<Tx = TxEnv, HaltReason = HaltReason>,
    E::Error: Into<PlayError>,
{
    let result = player
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

impl From<PlayError> for CallError {
    fn from(why: PlayError) -> Self {
        match why {
            EVMError::Transaction(why) => Self::Invalid(refusal(&why)),
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
