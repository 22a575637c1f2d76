//! Simulates one block: its header from the one below, its calls in order, and its roots from their results.

use alloy_consensus::{
    BlockBody, BlockHeader, EMPTY_OMMER_ROOT_HASH, Eip658Value, Header, Receipt, ReceiptEnvelope, Transaction,
    TxEnvelope, TxType, constants::EMPTY_WITHDRAWALS, proofs, transaction::Recovered,
};
use alloy_eips::{eip4895::Withdrawals, eip6110::DEPOSIT_REQUEST_TYPE, eip7685::Requests};
use alloy_evm::{
    Evm,
    block::{SystemCaller, state_changes::post_block_balance_increments},
    eth::eip6110::accumulate_deposits_from_logs,
};
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{B256, Bloom, Log, U256};
use alloy_rlp::Encodable;
use alloy_trie::root::ordered_trie_root_with_encoder;
use revm::{
    Database, DatabaseCommit,
    context::result::{EVMError, ExecutionResult, InvalidTransaction},
    database::{DatabaseCommitExt, states::bundle_state::BundleRetention},
};

use super::{
    CallFailure, GasBudget, SimulateError, SimulatedBlock, SimulatedCall,
    order::OrderedBlock,
    transaction::{Prepared, check_account, encode, prepare},
    transfers::Logs,
};
use crate::{
    block::ChainBlock,
    chain::ChainSpec,
    collision::CollisionDb,
    state::{StateDb, WorldState},
    view::{
        overrides::override_state,
        revert::{self, LastStep, halt_at},
        sandbox::{Sandbox, SandboxError, SandboxEvm, invalid_transaction_text, lenient_env, sandbox_evm},
    },
};

/// Settings of all blocks of a simulation.
pub(super) struct SimulationRules<'a> {
    pub(super) spec: &'a ChainSpec,
    /// The state below the first block.
    pub(super) world: &'a WorldState,
    pub(super) validation: bool,
    pub(super) transfers: bool,
}

/// Results of the calls of a block so far.
#[derive(Default)]
struct BlockResult {
    transactions: Vec<Recovered<TxEnvelope>>,
    receipts: Vec<ReceiptEnvelope>,
    calls: Vec<SimulatedCall>,
    gas_used: u64,
    blob_gas_used: u64,
    logs: u64,
}

pub(super) fn run(
    rules: &SimulationRules<'_>,
    sandbox: &mut Sandbox<'_>,
    parent: &Header,
    block: OrderedBlock<'_>,
    budget: &mut GasBudget,
) -> Result<SimulatedBlock, SimulateError> {
    let header = template(rules, parent, &block);
    let withdrawals = header
        .withdrawals_root
        .map(|_| block.overrides.withdrawals.clone().unwrap_or_default());
    let (done, requests) = {
        let mut env = lenient_env(rules.spec, &header);
        env.cfg_env.disable_nonce_check = !rules.validation;
        block.overrides.apply_blob_fee(&mut env.block_env);
        let mut evm = sandbox_evm(sandbox, env, Logs::new(rules.transfers));
        if let Some(state) = block.state {
            override_state(&mut evm, state)?;
        }
        SystemCaller::new(rules.spec)
            .apply_pre_execution_changes(&header, &mut evm)
            .map_err(broken)?;
        let mut done = BlockResult::default();
        for request in block.calls {
            let account = evm.db_mut().basic(request.from.unwrap_or_default()).map_err(broken)?;
            let left = header.gas_limit.saturating_sub(done.gas_used);
            let prepared = prepare(request, account.as_ref(), &header, rules.spec.chain_id, left, budget)?;
            let base_fee = header.base_fee_per_gas.unwrap_or(0);
            check_account(&prepared, account.as_ref(), base_fee, rules.validation)?;
            transact(rules, &mut evm, &header, prepared, budget, &mut done)?;
        }
        let requests = finish(rules, &mut evm, &header, withdrawals.as_ref(), &done)?;
        (done, requests)
    };
    let state_root = root(rules, sandbox)?;
    Ok(assemble(header, state_root, done, requests, withdrawals))
}

/// The header as far as it is known before the calls run.
fn template(rules: &SimulationRules<'_>, parent: &Header, block: &OrderedBlock<'_>) -> Header {
    let (spec, overrides) = (rules.spec, &block.overrides);
    let cancun = spec.is_cancun_active_at_timestamp(block.time_s);
    let merged = spec.is_paris_active_at_block(block.number);
    let difficulty = if merged { U256::ZERO } else { parent.difficulty };
    let params = spec.blob_params_at(block.time_s);
    let base_fee = || {
        let next = spec.next_base_fee(parent).unwrap_or(0);
        if rules.validation { next } else { 0 }
    };
    Header {
        parent_hash: parent.hash_slow(),
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: overrides.fee_recipient.unwrap_or(parent.beneficiary),
        difficulty: overrides.difficulty.filter(|_| !merged).unwrap_or(difficulty),
        number: block.number,
        gas_limit: overrides.gas_limit.map_or(parent.gas_limit, |limit| limit.to()),
        timestamp: block.time_s,
        mix_hash: overrides.prev_randao.unwrap_or_default(),
        base_fee_per_gas: spec.is_london_active_at_block(block.number).then(|| {
            overrides
                .base_fee_per_gas
                .map_or_else(base_fee, |fee| fee.saturating_to())
        }),
        withdrawals_root: spec
            .is_shanghai_active_at_timestamp(block.time_s)
            .then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: cancun.then_some(0),
        excess_blob_gas: cancun.then(|| parent.maybe_next_block_excess_blob_gas(params).unwrap_or(0)),
        parent_beacon_block_root: cancun.then(|| overrides.beacon_root.unwrap_or_default()),
        ..Header::default()
    }
}

/// Runs one call and keeps its changes.
fn transact(
    rules: &SimulationRules<'_>,
    evm: &mut SandboxEvm<'_, '_, Logs>,
    header: &Header,
    prepared: Prepared,
    budget: &mut GasBudget,
    done: &mut BlockResult,
) -> Result<(), SimulateError> {
    // A call without a price is not charged the base fee, but contracts see it.
    evm.cfg.disable_base_fee = !rules.validation && prepared.is_free;
    let outcome = evm.transact_raw(prepared.env.clone()).map_err(invalid)?;
    evm.db_mut().commit(outcome.state);
    let result = outcome.result;
    let gas_used = result.tx_gas_used();
    budget.0 = budget.0.checked_sub(gas_used).ok_or_else(|| {
        SimulateError::Request(format!(
            "RPC gas cap exhausted: need {gas_used}, remaining {}",
            budget.0
        ))
    })?;
    done.gas_used += gas_used;
    done.blob_gas_used += prepared.envelope.blob_gas_used().unwrap_or(0);
    let outcome = if rules.spec.is_byzantium_active_at_block(header.number) {
        Eip658Value::Eip658(result.is_success())
    } else {
        Eip658Value::PostState(root(rules, evm.db_mut())?)
    };
    done.receipts.push(receipt(
        prepared.envelope.tx_type(),
        Receipt {
            status: outcome,
            cumulative_gas_used: done.gas_used,
            logs: result.logs().to_vec(),
        },
    ));
    let last = evm.inspector_mut().last();
    let logged = evm.inspector_mut().take();
    let first = done.logs;
    done.logs += logged.len() as u64;
    let logs = (first..).zip(logged).collect();
    done.calls.push(call(result, logs, last, prepared.is_capped));
    done.transactions
        .push(Recovered::new_unchecked(prepared.envelope, prepared.sender));
    Ok(())
}

fn receipt(kind: TxType, receipt: Receipt) -> ReceiptEnvelope {
    let receipt = receipt.with_bloom();
    match kind {
        TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
        TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
        TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
        TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
        TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
    }
}

fn call(result: ExecutionResult, logs: Vec<(u64, Log)>, last: Option<LastStep>, is_capped: bool) -> SimulatedCall {
    let gas = *result.gas();
    let (output, failure) = match result {
        ExecutionResult::Success { output, .. } => (output.into_data(), None),
        ExecutionResult::Revert { output, .. } => {
            let reason = revert::reason(&output);
            (Default::default(), Some(CallFailure::Reverted { output, reason }))
        }
        ExecutionResult::Halt { reason, .. } => {
            let cap = if is_capped {
                " (gas limit was capped by the node's gas cap for simulations)"
            } else {
                ""
            };
            let why = format!("{}{cap}", halt_at(&reason, last));
            (Default::default(), Some(CallFailure::Halted(why)))
        }
    };
    SimulatedCall {
        output,
        logs,
        gas_used: gas.tx_gas_used(),
        gas_needed: gas.total_gas_spent().max(gas.floor_gas()),
        failure,
    }
}

/// The end of the block: requests, withdrawals, rewards, and the base fee to its collector.
fn finish(
    rules: &SimulationRules<'_>,
    evm: &mut SandboxEvm<'_, '_, Logs>,
    header: &Header,
    withdrawals: Option<&Withdrawals>,
    done: &BlockResult,
) -> Result<Option<Requests>, SimulateError> {
    let spec = rules.spec;
    let mut requests = None;
    if spec.is_prague_active_at_timestamp(header.timestamp) {
        let mut all = Requests::default();
        let mut deposits = Vec::new();
        let logs = done.receipts.iter().flat_map(|receipt| receipt.logs());
        accumulate_deposits_from_logs(spec.deposit_contract, logs, &mut deposits).map_err(broken)?;
        if !deposits.is_empty() {
            all.push_request_with_type(DEPOSIT_REQUEST_TYPE, deposits);
        }
        SystemCaller::new(spec)
            .append_post_execution_changes(evm, &mut all)
            .map_err(broken)?;
        requests = Some(all);
    }
    let list = withdrawals.map(|list| list.as_slice());
    let mut credits = post_block_balance_increments(spec, evm.block(), &[] as &[Header], list);
    let fees = u128::from(header.base_fee_per_gas.unwrap_or(0)) * u128::from(done.gas_used);
    if let Some(collector) = spec.fee_collector.filter(|_| fees > 0) {
        *credits.entry(collector).or_default() += fees;
    }
    evm.db_mut().increment_balances(credits).map_err(broken)?;
    Ok(requests)
}

/// The root of the state at this point.
fn root(rules: &SimulationRules<'_>, sandbox: &mut Sandbox<'_>) -> Result<B256, SimulateError> {
    sandbox.merge_transitions(BundleRetention::PlainState);
    let mut changes = sandbox.bundle_state.clone();
    CollisionDb::<StateDb>::restore(&rules.spec.bare_storage, &mut changes);
    Ok(rules.world.apply(&changes).map_err(broken)?.root())
}

fn assemble(
    template: Header,
    state_root: B256,
    done: BlockResult,
    requests: Option<Requests>,
    withdrawals: Option<Withdrawals>,
) -> SimulatedBlock {
    let bloom = |bloom: Bloom, receipt: &ReceiptEnvelope| bloom | *receipt.logs_bloom();
    let header = Header {
        state_root,
        transactions_root: ordered_trie_root_with_encoder(&done.transactions, |transaction, buffer| {
            buffer.extend(encode(transaction.inner()));
        }),
        receipts_root: proofs::calculate_receipt_root(&done.receipts),
        withdrawals_root: withdrawals
            .as_ref()
            .map(|list| proofs::calculate_withdrawals_root(list)),
        logs_bloom: done.receipts.iter().fold(Bloom::ZERO, bloom),
        gas_used: done.gas_used,
        blob_gas_used: template.blob_gas_used.map(|_| done.blob_gas_used),
        requests_hash: requests.map(|requests| requests.requests_hash()),
        ..template
    };
    let body = BlockBody {
        transactions: done
            .transactions
            .iter()
            .map(|transaction| transaction.inner().clone())
            .collect(),
        ommers: Vec::new(),
        withdrawals: withdrawals.clone(),
    };
    let size = ChainBlock::new(header.clone(), body).length();
    SimulatedBlock {
        hash: header.hash_slow(),
        header,
        transactions: done.transactions,
        withdrawals,
        size,
        calls: done.calls,
    }
}

/// The error codes that this method defines for invalid transactions.
fn invalid(why: SandboxError) -> SimulateError {
    let EVMError::Transaction(why) = why else {
        return broken(why);
    };
    let code = match why {
        InvalidTransaction::NonceTooHigh { .. } => -38011,
        InvalidTransaction::NonceTooLow { .. } => -38010,
        InvalidTransaction::RejectCallerWithCode => -38024,
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => -32602,
        InvalidTransaction::GasPriceLessThanBasefee => -38012,
        InvalidTransaction::LackOfFundForMaxFee { .. } => -38014,
        InvalidTransaction::CallGasCostMoreThanGasLimit { .. } => -38013,
        InvalidTransaction::CreateInitCodeSizeLimit => -38025,
        _ => -32603,
    };
    SimulateError::Invalid {
        code,
        why: invalid_transaction_text(&why),
    }
}

fn broken(error: impl ToString) -> SimulateError {
    SimulateError::State(error.to_string())
}
