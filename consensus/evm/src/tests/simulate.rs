use alloy_consensus::{Header, TxEip1559, TxEnvelope};
use alloy_eips::Decodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U64, U256, address};
use alloy_rpc_types_eth::{TransactionRequest, state::AccountOverride};
use alloy_rpc_types_trace::geth::{CallFrame, GethDebugBuiltInTracerType, GethDebugTracingOptions, GethTrace};
use alloy_sol_types::SolCall;
use contracts::TestToken;
use protocol::{Amount, TxHash};

use super::support::*;
use crate::view::{
    At, BlockOverrides, CallOutcome, CallRequest, Overrides, TraceError, View,
    simulate::{BlockStateCalls, CallFailure, SimulateError, Simulation},
};

fn view(chain: &Chain) -> View<std::sync::Arc<crate::state::MemKv>> {
    chain.ledger.view(chain.log.clone())
}

fn send(to: Address, value: u64) -> Vec<u8> {
    TestToken::transferCall {
        to,
        value: U256::from(value),
    }
    .abi_encode()
}

/// A request for this transaction.
fn request(from: Address, raw: &[u8]) -> TransactionRequest {
    let transaction = TxEnvelope::decode_2718_exact(raw).unwrap();
    TransactionRequest {
        from: Some(from),
        gas_price: None,
        ..TransactionRequest::from_transaction(transaction)
    }
}

/// A simulated block with the same header fields as this one.
fn like(header: &Header) -> BlockOverrides {
    BlockOverrides {
        time: Some(U64::from(header.timestamp)),
        fee_recipient: Some(header.beneficiary),
        prev_randao: Some(header.mix_hash),
        beacon_root: header.parent_beacon_block_root,
        ..BlockOverrides::default()
    }
}

fn run(
    chain: &Chain,
    blocks: Vec<BlockStateCalls>,
    validation: bool,
) -> Result<Vec<crate::view::simulate::SimulatedBlock>, SimulateError> {
    let simulation = Simulation {
        block_state_calls: blocks,
        validation,
        ..Simulation::default()
    };
    view(chain).simulate(simulation, At::Tip)
}

fn calls(calls: Vec<TransactionRequest>) -> BlockStateCalls {
    BlockStateCalls {
        calls,
        ..BlockStateCalls::default()
    }
}

fn pay(from: Address, to: Address, value: u64) -> TransactionRequest {
    TransactionRequest::default().from(from).to(to).value(U256::from(value))
}

#[test]
fn a_simulated_block_has_the_results_of_the_real_one() {
    let mut chain = Chain::new();
    let token = wallet(5).address.create(0);
    let offered = [
        (5, wallet(5).deploy(0, TestToken::BYTECODE.clone())),
        (6, wallet(6).pay(0, wallet(7).address, Amount(9))),
        (5, wallet(5).call(1, token, Amount::ZERO, send(wallet(6).address, 500))),
        (
            5,
            wallet(5).call(2, token, Amount::ZERO, send(wallet(6).address, u64::MAX)),
        ),
    ];
    let before = view(&chain);
    let raw: Vec<_> = offered.iter().map(|(_, raw)| raw.clone()).collect();
    chain.add_all(&raw);
    let real = view(&chain).header(1).unwrap().unwrap();
    // In the order that the block has.
    let block = view(&chain).block(1).unwrap().unwrap();
    let requests = view(&chain).senders_of(block).unwrap();
    let requests = requests.iter().map(|one| {
        let raw = alloy_eips::Encodable2718::encoded_2718(one.inner());
        request(one.signer(), &raw)
    });
    let block = BlockStateCalls {
        block_overrides: Some(like(&real)),
        calls: requests.collect(),
        ..BlockStateCalls::default()
    };
    let simulation = Simulation {
        block_state_calls: vec![block],
        validation: true,
        ..Simulation::default()
    };
    let simulated = before.simulate(simulation, At::Height(0)).unwrap().remove(0).header;
    let expect = Header {
        // Simulated transactions are unsigned.
        transactions_root: simulated.transactions_root,
        ..real
    };
    assert_eq!(simulated, expect);
}

#[test]
fn simulated_blocks_build_on_each_other_and_are_dropped() {
    let chain = Chain::new();
    let (a, b) = (wallet(5).address, Address::repeat_byte(0x55));
    let blocks = vec![calls(vec![pay(a, b, 7)]), calls(vec![pay(b, a, 3)])];
    let simulated = run(&chain, blocks, false).unwrap();
    assert_eq!(simulated[1].header.parent_hash, simulated[0].hash);
    assert_eq!(simulated[1].header.base_fee_per_gas, Some(0));
    assert!(simulated.iter().all(|block| block.calls[0].failure.is_none()));
    assert_eq!(view(&chain).account(&b, At::Tip).unwrap().balance, U256::ZERO);
}

#[test]
fn transfers_are_reported_as_logs_on_request() {
    let chain = Chain::new();
    let (from, to) = (wallet(5).address, wallet(6).address);
    let simulation = Simulation {
        block_state_calls: vec![calls(vec![pay(from, to, 7), pay(from, to, 0), pay(from, to, 8)])],
        trace_transfers: true,
        ..Simulation::default()
    };
    let block = view(&chain).simulate(simulation, At::Tip).unwrap().remove(0);
    let places: Vec<Vec<u64>> = block
        .calls
        .iter()
        .map(|call| call.logs.iter().map(|(place, _)| *place).collect())
        .collect();
    assert_eq!(places, [vec![0], vec![], vec![1]]);
    let (_, log) = &block.calls[0].logs[0];
    assert_eq!(log.address, address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"));
    // Transfer logs are not part of the block.
    assert!(block.header.logs_bloom.is_zero());
}

#[test]
fn an_invalid_simulation_has_the_error_code_of_its_reason() {
    let chain = Chain::new();
    let (rich, poor) = (wallet(5).address, Address::repeat_byte(0x99));
    let fees = |request: TransactionRequest| request.max_fee_per_gas(FEE_CAP);
    let check = |request: TransactionRequest, validation: bool, expect: i32| {
        let error = run(&chain, vec![calls(vec![request])], validation).unwrap_err();
        let SimulateError::Invalid { code, why } = error else {
            panic!("{error}")
        };
        assert_eq!(code, expect, "{why}");
    };
    check(fees(pay(rich, poor, 1)).nonce(5), true, -38011);
    check(pay(rich, poor, 1), true, -38012);
    check(fees(pay(rich, poor, 1)).gas_limit(20_999), true, -38013);
    check(pay(poor, rich, 1), false, -38014);
    let error = run(
        &chain,
        vec![calls(vec![pay(rich, poor, 1).gas_limit(31_000_000)])],
        false,
    )
    .unwrap_err();
    assert!(matches!(error, SimulateError::BlockGas { .. }), "{error}");
}

#[test]
fn a_halted_call_names_the_instruction() {
    let chain = Chain::new();
    let creates = |code: &'static [u8]| TransactionRequest {
        to: Some(TxKind::Create),
        input: Bytes::from_static(code).into(),
        gas: Some(100_000),
        ..TransactionRequest::default()
    };
    let block = calls(vec![
        creates(&[0xfe]),
        creates(&[0x01]),
        creates(&[0x0c]),
        creates(&[0x60, 9, 0x56]),
    ]);
    let block = run(&chain, vec![block], false).unwrap().remove(0);
    let failures: Vec<_> = block.calls.into_iter().map(|call| call.failure.unwrap()).collect();
    let expect = [
        "invalid opcode: INVALID",
        "stack underflow (0 <=> 2)",
        "invalid opcode: opcode 0xc not defined",
        "invalid jump destination",
    ];
    assert_eq!(failures, expect.map(|text| CallFailure::Halted(text.into())));
}

#[test]
fn a_call_accepts_state_and_block_overrides() {
    let chain = Chain::new();
    let target = Address::repeat_byte(0x42);
    // NUMBER, PUSH0, MSTORE, SLOAD of 0 added, returned.
    let code: &[u8] = &[0x43, 0x5f, 0x54, 0x01, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3];
    let account = AccountOverride::default()
        .with_code(Bytes::from_static(&[]))
        .with_state_diff([(Default::default(), U256::from(5).into())]);
    let account = AccountOverride {
        code: Some(Bytes::copy_from_slice(code)),
        ..account
    };
    let overrides = Overrides {
        state: [(target, account)].into_iter().collect(),
        block: BlockOverrides {
            number: Some(U256::from(1000)),
            ..BlockOverrides::default()
        },
    };
    let request = CallRequest {
        to: Some(target),
        ..CallRequest::default()
    };
    let outcome = view(&chain).call(&request, At::Tip, &overrides).unwrap();
    assert!(
        matches!(outcome, CallOutcome::Returned { output, .. } if U256::from_be_slice(&output) == U256::from(1005))
    );
    let listed = view(&chain).access_list(&request, At::Tip, &overrides).unwrap();
    assert_eq!(listed.list.0.len(), 1);
    assert_eq!(
        (listed.list.0[0].address, listed.list.0[0].storage_keys.len()),
        (target, 1)
    );
}

#[test]
fn a_trace_agrees_with_the_receipt() {
    let mut chain = Chain::new();
    let token = wallet(5).address.create(0);
    let call = wallet(5).call(1, token, Amount::ZERO, send(wallet(6).address, 500));
    chain.add_all(&[wallet(5).deploy(0, TestToken::BYTECODE.clone()), call.clone()]);
    let options = GethDebugTracingOptions::new_tracer(GethDebugBuiltInTracerType::CallTracer);
    let receipts = view(&chain).receipts_with_transactions(1).unwrap().unwrap();
    for found in &receipts {
        let name = TxHash(found.included.transaction.tx_hash().0);
        let GethTrace::CallTracer(CallFrame { gas_used, .. }) = view(&chain).trace_transaction(name, &options).unwrap()
        else {
            panic!("a call parts")
        };
        assert_eq!(gas_used, U256::from(found.gas_used));
    }
    let GethTrace::Default(parts) = view(&chain)
        .trace_transaction(TxHash(alloy_primitives::keccak256(&call).0), &Default::default())
        .unwrap()
    else {
        panic!("steps")
    };
    assert!(!parts.failed && parts.struct_logs.len() > 50);
    assert_eq!(view(&chain).trace_block(1, &options).unwrap().len(), 2);
    assert!(matches!(
        view(&chain).trace_block(0, &options),
        Err(TraceError::Genesis)
    ));
}

#[test]
fn a_trace_that_records_too_much_is_cut_off() {
    let mut chain = Chain::new();
    // JUMPDEST, PUSH0, JUMP with 1000 words below: every step copies them.
    let code: Vec<u8> = [vec![0x5f; 1000], vec![0x5b, 0x61, 0x03, 0xe8, 0x56]].concat();
    let create = TxEip1559 {
        to: TxKind::Create,
        gas_limit: 1_000_000,
        input: code.into(),
        ..fee_market(0)
    };
    let raw = wallet(5).sign(create);
    chain.add_all(std::slice::from_ref(&raw));
    let name = TxHash(alloy_primitives::keccak256(&raw).0);
    let trace = |options: &GethDebugTracingOptions| view(&chain).trace_transaction(name, options);
    assert!(matches!(trace(&Default::default()), Err(TraceError::TooLong)));
    let options = GethDebugTracingOptions::new_tracer(GethDebugBuiltInTracerType::CallTracer);
    assert!(trace(&options).is_ok());
}
