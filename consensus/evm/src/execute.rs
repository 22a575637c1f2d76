//! Runs the transactions of a block over a state and says what came of them. It does not know what a valid header is.
//!
//! Order within a block: system calls (EIP-2935, EIP-4788), transactions, system calls (EIP-7002, EIP-7251), rewards and
//! withdrawals where the fork has them, and last the base fee to the collector.

use alloy_consensus::{
    Eip658Value, Header, ReceiptEnvelope, ReceiptWithBloom, TxEnvelope, proofs::calculate_receipt_root,
    transaction::Recovered,
};
use alloy_eips::{eip4895::Withdrawals, eip7685::Requests};
use alloy_evm::{
    EthEvm, EthEvmFactory, Evm, EvmFactory,
    block::{BlockExecutionError, BlockExecutor, BlockValidationError},
    eth::{EthBlockExecutionCtx, EthBlockExecutor, receipt_builder::AlloyReceiptBuilder},
    precompiles::PrecompilesMap,
};
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{B256, Bloom};
use revm::{
    DatabaseRef,
    database::{BundleState, DatabaseCommitExt, State, WrapDatabaseRef, states::bundle_state::BundleRetention},
    inspector::NoOpInspector,
};

use crate::{chain::ChainSpec, collision::Guarded};

/// What a block did.
#[derive(Clone, Debug, Default)]
pub struct Executed {
    /// One receipt per transaction.
    pub receipts: Vec<ReceiptEnvelope>,
    /// What changed in the state.
    pub changes: BundleState,
    /// Gas of all transactions.
    pub gas_used: u64,
    /// Blob gas of all transactions.
    pub blob_gas_used: u64,
    /// EIP-7685 requests.
    pub requests: Requests,
}

impl Executed {
    /// The root of the receipts.
    pub fn receipts_root(&self) -> B256 {
        calculate_receipt_root(&self.receipts)
    }

    /// Every log's address and topics, as one filter.
    pub fn logs_bloom(&self) -> Bloom {
        self.receipts
            .iter()
            .fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom())
    }
}

/// Why a block could not be executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The block is wrong: every node would say so.
    #[error("transaction {index} cannot be included: {why}")]
    Transaction {
        /// Which one.
        index: usize,
        /// What the EVM says.
        why: String,
    },
    /// The block is wrong outside its transactions.
    #[error("block cannot be executed: {0}")]
    Block(String),
    /// This node is at fault: its state could not be read.
    #[error("state could not be read: {0}")]
    State(String),
}

/// The parts of a block that are not transactions, as far as execution needs them.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The header. Roots, bloom and gas used are not read, so they may be unset.
    pub header: &'a Header,
    /// Uncles, before the merge.
    pub ommers: &'a [Header],
    /// Withdrawals, on chains that have them.
    pub withdrawals: Option<&'a Withdrawals>,
}

impl<'a> Frame<'a> {
    /// A block of this chain: no uncles, an empty list of withdrawals.
    pub fn of(header: &'a Header) -> Self {
        Self {
            header,
            ommers: &[],
            withdrawals: None,
        }
    }
}

pub(crate) type Overlay<'a, DB> = State<WrapDatabaseRef<Guarded<'a, DB>>>;
pub(crate) type Executor<'a, 's, DB> = EthBlockExecutor<
    'a,
    EthEvm<&'a mut Overlay<'s, DB>, NoOpInspector, PrecompilesMap>,
    &'a ChainSpec,
    AlloyReceiptBuilder,
>;

/// The root of a state with these changes on top; needed within a block only before Byzantium.
pub type RootOf<'a> = &'a mut dyn FnMut(&BundleState) -> Result<B256, String>;

/// Executes `transactions`, all of which must fit and be valid.
pub fn execute<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    db: DB,
    frame: Frame<'_>,
    transactions: &[Recovered<TxEnvelope>],
    root_of: RootOf<'_>,
) -> Result<Executed, ExecuteError> {
    let mut state = open(spec, db);
    // Receipts before Byzantium carry the state root after their transaction instead of a status.
    let roots_inside = !spec.is_byzantium_active_at_block(frame.header.number);
    let mut roots = Vec::new();
    let mut executed = {
        let mut executor = start(spec, &mut state, frame)?;
        for (index, transaction) in transactions.iter().enumerate() {
            let output = executor
                .execute_transaction_without_commit(transaction)
                .map_err(|error| refuse(index, error))?;
            executor.commit_transaction(output);
            if roots_inside {
                let inner = executor.evm.db_mut();
                inner.merge_transitions(BundleRetention::PlainState);
                roots.push(root_of(&inner.bundle_state).map_err(ExecuteError::State)?);
            }
        }
        finish(spec, executor, frame.header)?
    };
    for (receipt, root) in executed.receipts.iter_mut().zip(roots) {
        carry_root(receipt, root);
    }
    executed.changes = close(spec, state);
    Ok(executed)
}

/// A layer over the state that collects changes.
pub(crate) fn open<DB: DatabaseRef>(spec: &ChainSpec, db: DB) -> Overlay<'_, DB> {
    let guarded = Guarded {
        db,
        listed: &spec.bare_storage,
    };
    State::builder()
        .with_database(WrapDatabaseRef(guarded))
        .with_bundle_update()
        .build()
}

/// The changes it collected.
pub(crate) fn close<DB: DatabaseRef>(spec: &ChainSpec, mut state: Overlay<'_, DB>) -> BundleState {
    state.merge_transitions(BundleRetention::PlainState);
    let mut changes = state.take_bundle();
    Guarded::<DB>::translate(&spec.bare_storage, &mut changes);
    changes
}

pub(crate) fn start<'a, 's, DB: DatabaseRef + std::fmt::Debug>(
    spec: &'a ChainSpec,
    state: &'a mut Overlay<'s, DB>,
    frame: Frame<'a>,
) -> Result<Executor<'a, 's, DB>, ExecuteError> {
    let evm = EthEvmFactory::default().create_evm(state, spec.evm_env(frame.header));
    let context = EthBlockExecutionCtx {
        parent_hash: frame.header.parent_hash,
        parent_beacon_block_root: frame.header.parent_beacon_block_root,
        ommers: frame.ommers,
        withdrawals: frame.withdrawals.map(|list| list.as_slice().into()),
        extra_data: frame.header.extra_data.clone(),
        tx_count_hint: None,
        slot_number: None,
    };
    let mut executor = EthBlockExecutor::new(evm, context, spec, AlloyReceiptBuilder::default());
    executor.apply_pre_execution_changes().map_err(outside)?;
    Ok(executor)
}

pub(crate) fn finish<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    executor: Executor<'_, '_, DB>,
    header: &Header,
) -> Result<Executed, ExecuteError> {
    let (mut evm, result) = executor.finish().map_err(outside)?;
    if let Some(collector) = spec.fee_collector {
        let fees = u128::from(header.base_fee_per_gas.unwrap_or(0)) * u128::from(result.gas_used);
        if fees > 0 {
            let credit = [(collector, fees)];
            evm.db_mut()
                .increment_balances(credit)
                .map_err(|error| ExecuteError::State(error.to_string()))?;
        }
    }
    Ok(Executed {
        receipts: result.receipts,
        changes: BundleState::default(),
        gas_used: result.gas_used,
        blob_gas_used: result.blob_gas_used,
        requests: result.requests,
    })
}

pub(crate) fn refuse(index: usize, error: BlockExecutionError) -> ExecuteError {
    match error {
        BlockExecutionError::Validation(BlockValidationError::InvalidTx { error, .. }) => ExecuteError::Transaction {
            index,
            why: error.to_string(),
        },
        BlockExecutionError::Validation(why) => ExecuteError::Transaction {
            index,
            why: why.to_string(),
        },
        BlockExecutionError::Internal(error) => ExecuteError::State(error.to_string()),
    }
}

fn outside(error: BlockExecutionError) -> ExecuteError {
    match error {
        BlockExecutionError::Validation(why) => ExecuteError::Block(why.to_string()),
        BlockExecutionError::Internal(error) => ExecuteError::State(error.to_string()),
    }
}

fn carry_root(receipt: &mut ReceiptEnvelope, root: B256) {
    if let ReceiptEnvelope::Legacy(ReceiptWithBloom { receipt, .. }) = receipt {
        receipt.status = Eip658Value::PostState(root);
    }
}
