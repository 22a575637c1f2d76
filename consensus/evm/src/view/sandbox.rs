//! Where calls, traces and simulations play: a layer over a state in which anything may happen and nothing lasts.

use alloy_consensus::Header;
use alloy_evm::{EthEvm, EthEvmFactory, Evm, EvmEnv, EvmFactory, precompiles::PrecompilesMap};
use alloy_primitives::{Address, B256, U256};
use revm::{
    Database, DatabaseRef, Inspector,
    bytecode::Bytecode,
    context::{
        BlockEnv, CfgEnv, Context, JournalTr, TxEnv,
        result::{EVMError, InvalidTransaction},
    },
    database_interface::bal::EvmDatabaseError,
    state::AccountInfo,
};

use crate::{
    chain::ChainSpec,
    execute::{Overlay, open},
    state::{StateDb, StateError},
};

/// A state for calls. A block that is only imagined may be far above the last one: the hash of a block that is not known
/// is zero, as where a contract asks too far back.
#[derive(Clone, Debug)]
pub(crate) struct Imagined(pub(crate) StateDb);

impl DatabaseRef for Imagined {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        self.0.basic_ref(address)
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, StateError> {
        self.0.code_by_hash_ref(code_hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.0.storage_ref(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StateError> {
        Ok(self.0.hashes.get(&number).copied().unwrap_or_default())
    }
}

/// The layer.
pub(crate) type Stage<'a> = Overlay<'a, Imagined>;
/// An EVM on it.
pub(crate) type Player<'a, 's, I> = EthEvm<&'a mut Stage<'s>, I, PrecompilesMap>;

/// Why an EVM on it did not run a transaction.
pub(crate) type PlayError = EVMError<EvmDatabaseError<StateError>>;

/// A layer over this state.
pub(crate) fn stage(spec: &ChainSpec, db: StateDb) -> Stage<'_> {
    open(spec, Imagined(db))
}

/// An EVM on a layer, watched by `inspector`.
pub(crate) fn player<'a, 's, I>(stage: &'a mut Stage<'s>, env: EvmEnv, inspector: I) -> Player<'a, 's, I>
where
    I: Inspector<Context<BlockEnv, TxEnv, CfgEnv, &'a mut Stage<'s>>>,
{
    let mut player = EthEvmFactory::default().create_evm_with_inspector(stage, env, inspector);
    // What an address costs to touch follows from the rules, not from where a caller moves precompiles.
    let warm = player.precompiles().addresses().copied().collect();
    player.journaled_state.warm_precompiles(&warm);
    player
}

/// What the EVM is told about a block in which transactions are only tried: no nonce, no cap on gas, senders with code.
pub(crate) fn relaxed(spec: &ChainSpec, header: &Header) -> EvmEnv {
    let mut env = spec.evm_env(header);
    env.cfg_env.disable_nonce_check = true;
    env.cfg_env.disable_eip3607 = true;
    env.cfg_env.disable_block_gas_limit = true;
    env.cfg_env.tx_gas_limit_cap = Some(u64::MAX);
    env
}

/// Why a transaction is not run, in words that wallets know.
pub(crate) fn refusal(why: &InvalidTransaction) -> String {
    match why {
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            format!("insufficient funds for gas * price + value: have {balance} want {fee}")
        }
        InvalidTransaction::GasPriceLessThanBasefee => "max fee per gas less than block base fee".into(),
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            "max priority fee per gas higher than max fee per gas".into()
        }
        InvalidTransaction::NonceTooLow { tx, state } => format!("nonce too low: next nonce {state}, tx nonce {tx}"),
        InvalidTransaction::NonceTooHigh { tx, state } => format!("nonce too high: next nonce {state}, tx nonce {tx}"),
        InvalidTransaction::NonceOverflowInTransaction => "nonce has max value".into(),
        InvalidTransaction::CallGasCostMoreThanGasLimit { gas_limit, initial_gas } => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
        }
        InvalidTransaction::CreateInitCodeSizeLimit => "max initcode size exceeded".into(),
        other => other.to_string(),
    }
}

/// The balance of an account on the layer.
pub(crate) fn balance<DB: Database>(db: &mut DB, address: Address) -> Result<U256, DB::Error> {
    Ok(db.basic(address)?.map_or(U256::ZERO, |account| account.balance))
}
