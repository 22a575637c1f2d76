//! A state and a block as a caller imagines them: what `eth_call`, estimates, traces and simulations may override.

use std::collections::BTreeMap;

use alloy_eips::eip4895::Withdrawals;
use alloy_evm::{Evm, overrides::apply_state_overrides, precompiles::PrecompilesMap};
use alloy_primitives::{Address, B256, U64, U256};
use alloy_rpc_types_eth::state::StateOverride;
use revm::{Database, DatabaseCommit, context::BlockEnv, context_interface::block::BlobExcessGasAndPrice};
use serde::Deserialize;

/// Fields of a block that a caller sets. An unknown key is an error, so that a misspelt one is not silently ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct BlockOverrides {
    /// Its height.
    #[serde(alias = "blockNumber")]
    pub number: Option<U256>,
    /// Its difficulty, before the merge.
    pub difficulty: Option<U256>,
    /// Its time, in seconds.
    #[serde(alias = "timestamp")]
    pub time: Option<U64>,
    /// Its gas.
    pub gas_limit: Option<U64>,
    /// Who earns its tips.
    #[serde(alias = "coinbase")]
    pub fee_recipient: Option<Address>,
    /// What `PREVRANDAO` returns.
    #[serde(alias = "random")]
    pub prev_randao: Option<B256>,
    /// Its base fee.
    #[serde(alias = "baseFee")]
    pub base_fee_per_gas: Option<U256>,
    /// What a unit of blob gas costs.
    pub blob_base_fee: Option<U256>,
    /// The root of the beacon block above it; only in simulations.
    #[serde(alias = "parentBeaconBlockRoot")]
    pub beacon_root: Option<B256>,
    /// Its withdrawals; only in simulations.
    pub withdrawals: Option<Withdrawals>,
}

/// What a caller overrides.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Accounts.
    pub state: StateOverride,
    /// The block.
    pub block: BlockOverrides,
}

/// Why overrides make no sense.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    /// Only where a whole block is simulated.
    #[error("block override \"{0}\" is not supported for this method; use eth_simulateV1")]
    OnlySimulated(&'static str),
    /// There is nothing to move.
    #[error("account {0} is not a precompile")]
    NotAPrecompile(Address),
    /// A precompile moves to where something else is overridden.
    #[error("account {0} is already overridden")]
    Taken(Address),
    /// The override makes no sense, or the state cannot be read.
    #[error("state override: {0}")]
    State(String),
}

impl BlockOverrides {
    /// Sets what the EVM is told about the block.
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

    /// Sets the one field that no header has.
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

/// Overrides accounts in the state of an EVM, and moves its precompiles. An account that is overridden is no precompile
/// any more.
pub(crate) fn override_state<E>(evm: &mut E, state: &StateOverride) -> Result<(), OverrideError>
where
    E: Evm<Precompiles = PrecompilesMap, DB: DatabaseCommit>,
{
    // In the order of addresses, so that of several errors always the same is told.
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
