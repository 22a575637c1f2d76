//! Calls that change nothing, and how much gas a transaction would need.

use alloy_eips::eip2930::AccessList;
use alloy_eips::eip7825::MAX_TX_GAS_LIMIT_OSAKA;
use alloy_evm::EvmEnv;
use alloy_primitives::{Address, Bytes, Log, TxKind, U256};
use revm::{
    context::{
        TxEnv,
        result::{ExecutionResult, InvalidTransaction},
    },
    primitives::hardfork::SpecId,
};

use super::{At, View, ViewError, revert};
use crate::{
    call::{TransactError, transact},
    state::{Kv, StateDb},
};

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
    /// EIP-2930.
    pub access_list: AccessList,
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
    /// No amount of gas that a transaction may have is enough.
    #[error("gas required exceeds allowance ({0})")]
    TooMuch(u64),
}

impl<K: Kv> View<K> {
    /// Makes a call on a state and forgets what it changed (`eth_call`).
    pub fn call(&self, request: &CallRequest, at: At) -> Result<CallOutcome, CallError> {
        let (env, db) = self.environment(request, at)?;
        let gas = request.gas.unwrap_or(GAS_CAP).min(GAS_CAP).min(env.block_env.gas_limit);
        self.attempt(request, gas, env, db)
    }

    /// The least gas with which a transaction would not fail, up to 1.5 % more (`eth_estimateGas`).
    pub fn estimate_gas(&self, request: &CallRequest, at: At) -> Result<u64, EstimateError> {
        let (env, db) = self.environment(request, at)?;
        let mut high = MAX_TX_GAS_LIMIT_OSAKA.min(env.block_env.gas_limit);
        high = high
            .min(request.gas.unwrap_or(high))
            .min(self.affordable(request, &db)?);
        let attempt = |gas: u64| self.attempt(request, gas, env.clone(), db.clone());

        let used = match attempt(high) {
            Ok(CallOutcome::Returned { gas_used, .. }) => gas_used,
            Ok(CallOutcome::Reverted { output, reason, .. }) => return Err(EstimateError::Reverted { output, reason }),
            Ok(CallOutcome::Halted { .. }) => return Err(EstimateError::TooMuch(high)),
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
    fn environment(&self, request: &CallRequest, at: At) -> Result<(EvmEnv, StateDb), CallError> {
        let (header, db) = self.database(at)?;
        let mut env = self.spec.evm_env(&header);
        env.cfg_env.disable_nonce_check = true;
        env.cfg_env.disable_eip3607 = true;
        env.cfg_env.tx_gas_limit_cap = Some(u64::MAX);
        if request.fee_cap.unwrap_or(0) == 0 {
            env.block_env.basefee = 0;
        }
        Ok((env, db))
    }

    /// The gas that the sender can pay for, if a price is named.
    fn affordable(&self, request: &CallRequest, db: &StateDb) -> Result<u64, CallError> {
        let Some(price) = request.fee_cap.filter(|price| *price > 0) else {
            return Ok(u64::MAX);
        };
        let account = db
            .state
            .account(&request.from)
            .map_err(|error| CallError::View(error.into()))?;
        let balance = account.map_or(U256::ZERO, |account| account.balance);
        let left = balance.checked_sub(request.value);
        let left = left.ok_or_else(|| CallError::Invalid("insufficient funds for transfer".into()))?;
        Ok((left / U256::from(price)).saturating_to())
    }

    fn attempt(&self, request: &CallRequest, gas: u64, env: EvmEnv, db: StateDb) -> Result<CallOutcome, CallError> {
        let transaction = TxEnv::builder()
            .caller(request.from)
            .kind(request.to.map_or(TxKind::Create, TxKind::Call))
            .gas_limit(gas)
            .gas_price(request.fee_cap.unwrap_or(0))
            .gas_priority_fee(request.tip_cap)
            .value(request.value)
            .data(request.input.clone())
            .access_list(request.access_list.clone())
            .chain_id(Some(self.spec.chain_id))
            .build()
            .map_err(|error| CallError::Invalid(format!("{error:?}")))?;
        debug_assert!(env.cfg_env.spec >= SpecId::OSAKA, "this chain starts with Osaka");
        let (result, _) = transact(&self.spec, env, db, transaction).map_err(|error| match error {
            TransactError::Invalid(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => CallError::Invalid(
                format!("insufficient funds for gas * price + value: have {balance} want {fee}"),
            ),
            TransactError::Invalid(why) => CallError::Invalid(why.to_string()),
            TransactError::State(why) => CallError::State(why),
        })?;
        let gas_used = result.tx_gas_used();
        Ok(match result {
            ExecutionResult::Success { output, logs, .. } => CallOutcome::Returned {
                output: output.into_data(),
                gas_used,
                logs,
            },
            ExecutionResult::Revert { output, .. } => CallOutcome::Reverted {
                reason: revert::reason(&output),
                output,
                gas_used,
            },
            ExecutionResult::Halt { reason, .. } => CallOutcome::Halted {
                reason: format!("{reason:?}"),
                gas_used,
            },
        })
    }
}
