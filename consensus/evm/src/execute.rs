//! Runs the transactions of a block on a state and returns receipts and state changes. Header rules are not checked
//! here.
//!
//! Order within a block: system calls (EIP-2935, EIP-4788), transactions, system calls (EIP-7002, EIP-7251),
//! rewards and withdrawals where the fork has them, and last the base fee to its collector.

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

use crate::{chain::ChainSpec, collision::CollisionDb};

/// The result of executing a block: receipts and changes. The caller applies the changes to a state to get its
/// root.
#[derive(Clone, Debug, Default)]
pub struct Executed {
    pub receipts: Vec<ReceiptEnvelope>,
    pub changes: BundleState,
    pub gas_used: u64,
    pub blob_gas_used: u64,
    /// The EIP-7685 requests.
    pub requests: Requests,
}

impl Executed {
    /// The Merkle root of the receipts, as the header contains it.
    pub fn receipts_root(&self) -> B256 {
        calculate_receipt_root(&self.receipts)
    }

    /// The bloom filter over addresses and topics of all logs.
    pub fn logs_bloom(&self) -> Bloom {
        self.receipts
            .iter()
            .fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom())
    }
}

/// Reason that a block could not be executed. The first two variants blame the block, the last one blames this
/// node.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// A transaction is invalid. Every node refuses the block.
    #[error("transaction {index} cannot be included: {why}")]
    Transaction {
        index: usize,
        /// The EVM's reason.
        why: String,
    },
    /// The block is invalid outside its transactions. Every node refuses it.
    #[error("block cannot be executed: {0}")]
    Block(String),
    /// The state of this node could not be read.
    #[error("state could not be read: {0}")]
    State(String),
}

/// The parts of a block, besides its transactions, that execution needs.
#[derive(Clone, Copy, Debug)]
pub struct BlockParts<'a> {
    /// The header. Roots, bloom and gas used are not read and may be unset.
    pub header: &'a Header,
    /// Uncles, on chains before the merge.
    pub ommers: &'a [Header],
    /// Withdrawals, on chains that have them.
    pub withdrawals: Option<&'a Withdrawals>,
}

impl<'a> BlockParts<'a> {
    /// The parts of a block of this chain: no uncles, no withdrawals.
    pub fn of(header: &'a Header) -> Self {
        Self {
            header,
            ommers: &[],
            withdrawals: None,
        }
    }
}

pub(crate) type Overlay<'a, DB> = State<WrapDatabaseRef<CollisionDb<'a, DB>>>;
pub(crate) type Executor<'a, 's, DB> = EthBlockExecutor<
    'a,
    EthEvm<&'a mut Overlay<'s, DB>, NoOpInspector, PrecompilesMap>,
    &'a ChainSpec,
    AlloyReceiptBuilder,
>;

/// Returns the state root with these changes applied. Only blocks before Byzantium need it, for their receipts.
pub type RootOf<'a> = &'a mut dyn FnMut(&BundleState) -> Result<B256, String>;

/// Executes `transactions`, all of which must be valid and fit. An invalid one is an error.
pub fn execute<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    db: DB,
    parts: BlockParts<'_>,
    transactions: &[Recovered<TxEnvelope>],
    root_of: RootOf<'_>,
) -> Result<Executed, ExecuteError> {
    let mut state = overlay(spec, db);
    // Receipts before Byzantium carry the state root after their transaction instead of a status.
    let roots_inside = !spec.is_byzantium_active_at_block(parts.header.number);
    let mut roots = Vec::new();
    let mut executed = {
        let mut executor = begin_block(spec, &mut state, parts)?;
        for (index, transaction) in transactions.iter().enumerate() {
            let output = executor
                .execute_transaction_without_commit(transaction)
                .map_err(|error| transaction_error(index, error))?;
            executor.commit_transaction(output);
            if roots_inside {
                let inner = executor.evm.db_mut();
                inner.merge_transitions(BundleRetention::PlainState);
                roots.push(root_of(&inner.bundle_state).map_err(ExecuteError::State)?);
            }
        }
        end_block(spec, executor, parts.header)?
    };
    for (receipt, root) in executed.receipts.iter_mut().zip(roots) {
        set_post_state(receipt, root);
    }
    executed.changes = take_changes(spec, state);
    Ok(executed)
}

/// A database layer that collects changes and leaves `db` as it is.
pub(crate) fn overlay<DB: DatabaseRef>(spec: &ChainSpec, db: DB) -> Overlay<'_, DB> {
    let checked = CollisionDb {
        db,
        listed: &spec.bare_storage,
    };
    State::builder()
        .with_database(WrapDatabaseRef(checked))
        .with_bundle_update()
        .build()
}

/// The changes that the layer collected.
pub(crate) fn take_changes<DB: DatabaseRef>(spec: &ChainSpec, mut state: Overlay<'_, DB>) -> BundleState {
    state.merge_transitions(BundleRetention::PlainState);
    let mut changes = state.take_bundle();
    CollisionDb::<DB>::restore(&spec.bare_storage, &mut changes);
    changes
}

/// Starts a block: makes the system calls that come before its transactions.
pub(crate) fn begin_block<'a, 's, DB: DatabaseRef + std::fmt::Debug>(
    spec: &'a ChainSpec,
    state: &'a mut Overlay<'s, DB>,
    parts: BlockParts<'a>,
) -> Result<Executor<'a, 's, DB>, ExecuteError> {
    let evm = EthEvmFactory::default().create_evm(state, spec.evm_env(parts.header));
    let context = EthBlockExecutionCtx {
        parent_hash: parts.header.parent_hash,
        parent_beacon_block_root: parts.header.parent_beacon_block_root,
        ommers: parts.ommers,
        withdrawals: parts.withdrawals.map(|list| list.as_slice().into()),
        extra_data: parts.header.extra_data.clone(),
        tx_count_hint: None,
        slot_number: None,
    };
    let mut executor = EthBlockExecutor::new(evm, context, spec, AlloyReceiptBuilder::default());
    executor.apply_pre_execution_changes().map_err(block_error)?;
    Ok(executor)
}

/// Ends a block: makes the system calls after its transactions, and credits the base fee.
pub(crate) fn end_block<DB: DatabaseRef + std::fmt::Debug>(
    spec: &ChainSpec,
    executor: Executor<'_, '_, DB>,
    header: &Header,
) -> Result<Executed, ExecuteError> {
    let (mut evm, result) = executor.finish().map_err(block_error)?;
    if let Some(collector) = spec.fee_collector {
        // revm charges the base fee and credits it to no account, as Ethereum burns it.
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

pub(crate) fn transaction_error(index: usize, error: BlockExecutionError) -> ExecuteError {
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

fn block_error(error: BlockExecutionError) -> ExecuteError {
    match error {
        BlockExecutionError::Validation(why) => ExecuteError::Block(why.to_string()),
        BlockExecutionError::Internal(error) => ExecuteError::State(error.to_string()),
    }
}

fn set_post_state(receipt: &mut ReceiptEnvelope, root: B256) {
    if let ReceiptEnvelope::Legacy(ReceiptWithBloom { receipt, .. }) = receipt {
        receipt.status = Eip658Value::PostState(root);
    }
}
