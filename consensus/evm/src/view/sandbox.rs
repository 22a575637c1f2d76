//! The EVM for calls, traces and simulations, on a layer over a state whose changes are dropped.

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
    execute::{Overlay, overlay},
    state::{StateDb, StateError},
};

/// A state for calls. A call may run in a block far above the tip, so the hash of an unknown block is zero, as it
/// is for a block too far back.
#[derive(Clone, Debug)]
pub(crate) struct LenientHashes(pub(crate) StateDb);

impl DatabaseRef for LenientHashes {
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

/// The layer that collects changes.
pub(crate) type Sandbox<'a> = Overlay<'a, LenientHashes>;
/// An EVM on the layer.
pub(crate) type SandboxEvm<'a, 's, I> = EthEvm<&'a mut Sandbox<'s>, I, PrecompilesMap>;

/// Reason that that EVM did not run a transaction.
pub(crate) type SandboxError = EVMError<EvmDatabaseError<StateError>>;

/// A layer over this state.
pub(crate) fn sandbox(spec: &ChainSpec, db: StateDb) -> Sandbox<'_> {
    overlay(spec, LenientHashes(db))
}

/// An EVM on a layer, observed by `inspector`.
pub(crate) fn sandbox_evm<'a, 's, I>(sandbox: &'a mut Sandbox<'s>, env: EvmEnv, inspector: I) -> SandboxEvm<'a, 's, I>
where
    I: Inspector<Context<BlockEnv, TxEnv, CfgEnv, &'a mut Sandbox<'s>>>,
{
    let mut evm = EthEvmFactory::default().create_evm_with_inspector(sandbox, env, inspector);
    // The gas of touching an address follows from the chain's rules, not from where a caller moves precompiles.
    let warm = evm.precompiles().addresses().copied().collect();
    evm.journaled_state.warm_precompiles(&warm);
    evm
}

/// The EVM environment of a block in which transactions are only tried: nonces and the gas cap are not checked, and
/// senders may have code.
pub(crate) fn lenient_env(spec: &ChainSpec, header: &Header) -> EvmEnv {
    let mut env = spec.evm_env(header);
    env.cfg_env.disable_nonce_check = true;
    env.cfg_env.disable_eip3607 = true;
    env.cfg_env.disable_block_gas_limit = true;
    env.cfg_env.tx_gas_limit_cap = Some(u64::MAX);
    env
}

/// The text for a transaction that is not run, in geth's words.
pub(crate) fn invalid_transaction_text(why: &InvalidTransaction) -> String {
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
