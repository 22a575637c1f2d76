//! State and block overrides of `eth_call`, estimates, traces and simulations.

use std::collections::BTreeMap;

use alloy_eips::eip4895::Withdrawals;
use alloy_evm::{Evm, overrides::apply_state_overrides, precompiles::PrecompilesMap};
use alloy_primitives::{Address, B256, U64, U256};
use alloy_rpc_types_eth::state::StateOverride;
use revm::{Database, DatabaseCommit, context::BlockEnv, context_interface::block::BlobExcessGasAndPrice};
use serde::Deserialize;

/// Block fields that a caller sets. An unknown key is an error, so that a misspelt one is not silently ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct BlockOverrides {
    #[serde(alias = "blockNumber")]
    pub number: Option<U256>,
    /// Only before the merge.
    pub difficulty: Option<U256>,
    /// In seconds.
    #[serde(alias = "timestamp")]
    pub time: Option<U64>,
    pub gas_limit: Option<U64>,
    #[serde(alias = "coinbase")]
    pub fee_recipient: Option<Address>,
    /// The value of `PREVRANDAO`.
    #[serde(alias = "random")]
    pub prev_randao: Option<B256>,
    #[serde(alias = "baseFee")]
    pub base_fee_per_gas: Option<U256>,
    /// Price per blob gas.
    pub blob_base_fee: Option<U256>,
    /// The parent beacon block root; only in simulations.
    #[serde(alias = "parentBeaconBlockRoot")]
    pub beacon_root: Option<B256>,
    /// Only in simulations.
    pub withdrawals: Option<Withdrawals>,
}

/// All overrides of one request. Empty ones change nothing.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub state: StateOverride,
    pub block: BlockOverrides,
}

/// Reason that overrides are refused. They are the caller's mistake, except for a state that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    /// The field can be set only where a whole block is simulated.
    #[error("block override \"{0}\" is not supported for this method; use eth_simulateV1")]
    OnlySimulated(&'static str),
    /// `movePrecompileTo` is set for an address without a precompile.
    #[error("account {0} is not a precompile")]
    NotAPrecompile(Address),
    /// A precompile is moved to an address that is overridden as well.
    #[error("account {0} is already overridden")]
    Taken(Address),
    /// The override is inconsistent, or the state cannot be read.
    #[error("state override: {0}")]
    State(String),
}

impl BlockOverrides {
    /// Sets the fields in the EVM's block environment.
    pub(crate) fn apply(&self, env: &mut BlockEnv) -> Result<(), OverrideError> {
        if self.beacon_root.is_some() {
            return Err(OverrideError::OnlySimulated("beaconRoot"));
        }
        if self.withdrawals.is_some() {
            return Err(OverrideError::OnlySimulated("withdrawals"));
        }
        set(&mut env.number, self.number);
        set(&mut env.difficulty, self.difficulty);
        set(&mut env.timestamp, self.time.map(U256::from));
        set(&mut env.gas_limit, self.gas_limit.map(|limit| limit.to()));
        set(&mut env.beneficiary, self.fee_recipient);
        set(&mut env.prevrandao, self.prev_randao.map(Some));
        set(&mut env.basefee, self.base_fee_per_gas.map(|fee| fee.saturating_to()));
        self.apply_blob_fee(env);
        Ok(())
    }

    /// Sets the blob base fee, which no header contains.
    pub(crate) fn apply_blob_fee(&self, env: &mut BlockEnv) {
        if let Some(fee) = self.blob_base_fee {
            let excess_blob_gas = env.blob_excess_gas_and_price.map_or(0, |blob| blob.excess_blob_gas);
            env.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice {
                excess_blob_gas,
                blob_gasprice: fee.saturating_to(),
            });
        }
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Overrides accounts in the state of an EVM and moves its precompiles. An overridden account is no longer a
/// precompile.
pub(crate) fn override_state<E>(evm: &mut E, state: &StateOverride) -> Result<(), OverrideError>
where
    E: Evm<Precompiles = PrecompilesMap, DB: DatabaseCommit>,
{
    // In the order of addresses, so that of several errors the same one is always reported.
    let ordered: BTreeMap<_, _> = state.iter().collect();
    for (address, account) in &ordered {
        let precompiles = evm.precompiles_mut();
        let is_precompile = precompiles.get(address).is_some();
        if let Some(target) = account.move_precompile_to {
            if !is_precompile {
                return Err(OverrideError::NotAPrecompile(**address));
            }
            if state.contains_key(&target) {
                return Err(OverrideError::Taken(target));
            }
            precompiles
                .move_precompiles([(**address, target)])
                .map_err(|error| OverrideError::State(error.to_string()))?;
        } else if is_precompile {
            precompiles.apply_precompile(address, |_| None);
        }
    }
    commit(evm.db_mut(), state)
}

fn commit<DB: Database + DatabaseCommit>(db: &mut DB, state: &StateOverride) -> Result<(), OverrideError> {
    apply_state_overrides(state.clone(), db).map_err(|error| OverrideError::State(error.to_string()))
}
