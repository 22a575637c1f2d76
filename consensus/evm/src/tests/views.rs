use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{Revert, SolCall, SolError};
use consensus::execution::Execution;
use contracts::{StakeHub, TestToken, address::STAKE_HUB};
use protocol::{Amount, BlockHash, Height};

use super::support::*;
use crate::view::{At, CallOutcome, CallRequest, EstimateError, Overrides, View, ViewError};

fn view(chain: &Chain) -> View<std::sync::Arc<crate::state::MemKv>> {
    chain.ledger.view(chain.log.clone())
}

fn transfer(to: Address, value: u64) -> Vec<u8> {
    TestToken::transferCall {
        to,
        value: U256::from(value),
    }
    .abi_encode()
}

/// A chain on which wallet 5 deployed the token in block 1 and sent some in block 2.
fn with_token() -> (Chain, Address) {
    let mut chain = Chain::new();
    let token = wallet(5).address.create(0);
    chain.add_all(&[wallet(5).deploy(0, TestToken::BYTECODE.clone())]);
    chain.add_all(&[
        wallet(6).pay(0, wallet(7).address, Amount(9)),
        wallet(5).call(1, token, Amount::ZERO, transfer(wallet(6).address, 500)),
    ]);
    (chain, token)
}

/// Init code that reverts with `data`.
fn reverting(data: &[u8]) -> Bytes {
    let length = u8::try_from(data.len()).unwrap();
    // PUSH1 length, PUSH1 12, PUSH1 0, CODECOPY, PUSH1 length, PUSH1 0, REVERT, data
    [
        &[0x60, length, 0x60, 12, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xfd],
        data,
    ]
    .concat()
    .into()
}

#[test]
fn a_call_returns_and_changes_nothing() {
    let (chain, token) = with_token();
    let balance = |at: At| {
        let input = TestToken::balanceOfCall {
            account: wallet(6).address,
        }
        .abi_encode()
        .into();
        let request = CallRequest {
            to: Some(token),
            input,
            ..Default::default()
        };
        match view(&chain).call(&request, at, &Overrides::default()).unwrap() {
            CallOutcome::Returned { output, .. } => U256::from_be_slice(&output),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(balance(At::Tip), U256::from(500));
    assert_eq!(balance(At::Height(1)), U256::ZERO);
    let request = CallRequest {
        from: wallet(5).address,
        to: Some(token),
        input: transfer(wallet(6).address, 1).into(),
        ..Default::default()
    };
    let outcome = view(&chain).call(&request, At::Tip, &Overrides::default()).unwrap();
    assert!(
        matches!(outcome, CallOutcome::Returned { ref logs, .. } if logs.len() == 1),
        "{outcome:?}"
    );
    assert_eq!(balance(At::Tip), U256::from(500));
}

#[test]
fn revert_reasons_are_decoded() {
    let chain = Chain::new();
    let outcome = |data: &[u8]| {
        let request = CallRequest {
            input: reverting(data),
            ..Default::default()
        };
        view(&chain).call(&request, At::Tip, &Overrides::default()).unwrap()
    };
    let data = Revert::from("not yours").abi_encode();
    assert!(matches!(outcome(&data), CallOutcome::Reverted { reason: Some(ref r), .. } if r == "not yours"));
    let panic = alloy_sol_types::Panic { code: U256::from(0x12) }.abi_encode();
    let outcome = outcome(&panic);
    assert!(
        matches!(outcome, CallOutcome::Reverted { reason: Some(ref r), .. } if r == "division or modulo by zero"),
        "{outcome:?}"
    );
}

#[test]
fn a_custom_error_is_returned_as_data_and_a_system_contracts_by_name() {
    let chain = Chain::new();
    let request = CallRequest {
        from: wallet(5).address,
        to: Some(STAKE_HUB),
        input: StakeHub::withdrawCall {}.abi_encode().into(),
        ..Default::default()
    };
    let outcome = view(&chain).call(&request, At::Tip, &Overrides::default()).unwrap();
    let CallOutcome::Reverted { output, reason, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(output[..], StakeHub::NothingToWithdraw::SELECTOR);
    assert_eq!(reason.as_deref(), Some("NothingToWithdraw"));
}

#[test]
fn an_estimate_is_enough_gas_and_little_more() {
    let (mut chain, token) = with_token();
    let pay = CallRequest {
        from: wallet(5).address,
        to: Some(wallet(6).address),
        value: U256::from(1),
        ..Default::default()
    };
    assert_eq!(
        view(&chain).estimate_gas(&pay, At::Tip, &Overrides::default()).unwrap(),
        21_000
    );
    let send = CallRequest {
        from: wallet(5).address,
        to: Some(token),
        input: transfer(wallet(8).address, 5).into(),
        ..Default::default()
    };
    let gas_limit = view(&chain)
        .estimate_gas(&send, At::Tip, &Overrides::default())
        .unwrap();
    let transaction = alloy_consensus::TxEip1559 {
        gas_limit,
        to: alloy_primitives::TxKind::Call(token),
        input: send.input,
        ..fee_market(2)
    };
    chain.add_all(&[wallet(5).sign(transaction)]);
    let receipt = &view(&chain).receipts_with_transactions(3).unwrap().unwrap()[0];
    assert!(receipt.receipt.is_success());
    assert!(
        gas_limit - receipt.gas_used <= gas_limit / 50,
        "{gas_limit} for {}",
        receipt.gas_used
    );
}

#[test]
fn the_estimate_of_a_reverting_call_has_its_reason() {
    let chain = Chain::new();
    let request = CallRequest {
        input: reverting(&Revert::from("no").abi_encode()),
        ..Default::default()
    };
    let error = view(&chain)
        .estimate_gas(&request, At::Tip, &Overrides::default())
        .unwrap_err();
    assert_eq!(error.to_string(), "execution reverted: no");
    assert!(matches!(error, EstimateError::Reverted { .. }));
}

#[test]
fn a_call_that_the_sender_cannot_pay_is_not_estimated() {
    let chain = Chain::new();
    let request = CallRequest {
        from: wallet(5).address,
        to: Some(wallet(6).address),
        fee_cap: Some(1),
        value: U256::from(FUNDS.0 + 1),
        ..Default::default()
    };
    let error = view(&chain)
        .estimate_gas(&request, At::Tip, &Overrides::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("insufficient funds"), "{error}");
}

#[test]
fn blocks_and_transactions_are_found_by_hash() {
    let (chain, token) = with_token();
    let view = view(&chain);
    let header = header_of(&chain.log.blocks()[1]);
    let hash = BlockHash(header.hash_slow().0);
    assert_eq!(view.height_of(hash).unwrap(), Some(2));
    assert_eq!(view.block_hash(2).unwrap(), Some(hash));
    assert_eq!(view.block(2).unwrap().unwrap().header, header);
    assert_eq!(view.block(0).unwrap().unwrap().header.hash_slow().0, genesis().hash.0);
    assert_eq!(view.block(3).unwrap(), None);
    assert_eq!(view.height_of(BlockHash([1; 32])).unwrap(), None);

    let receipts = view.receipts_with_transactions(2).unwrap().unwrap();
    assert_eq!(receipts.len(), 2);
    assert_eq!(
        (receipts[0].gas_used, receipts[0].first_log, receipts[1].first_log),
        (21_000, 0, 0)
    );
    assert_eq!(receipts[1].included.transaction.signer(), wallet(5).address);
    let name = protocol::TxHash(
        alloy_primitives::keccak256(wallet(5).call(1, token, Amount::ZERO, transfer(wallet(6).address, 500))).0,
    );
    let found = view.transaction(name).unwrap().unwrap();
    assert_eq!((found.index, found.block), (1, hash));
    assert_eq!(view.receipt(name).unwrap().unwrap().gas_used, receipts[1].gas_used);
    let logs = view.logs(2).unwrap().unwrap();
    assert_eq!((logs.len(), logs[0].0, logs[0].1.address), (1, 1, token));
    assert_eq!(
        view.receipts_with_transactions(1).unwrap().unwrap()[0].created,
        Some(token)
    );
}

#[test]
fn stored_receipts_match_the_receipts_root() {
    let (chain, _) = with_token();
    let receipts = view(&chain).receipts(2).unwrap().unwrap();
    let root = alloy_consensus::proofs::calculate_receipt_root(&receipts);
    assert_eq!(root, header_of(&chain.log.blocks()[1]).receipts_root);
}

#[test]
fn receipts_larger_than_a_row_are_read_back() {
    let mut chain = Chain::new();
    // Init code that logs 60 kB of zeros: PUSH3 60_000, PUSH1 0, LOG0, STOP
    let log: Bytes = vec![0x62, 0x00, 0xea, 0x60, 0x60, 0x00, 0xa0, 0x00].into();
    chain.add_all(&[
        wallet(5).deploy(0, log.clone()),
        wallet(5).deploy(1, log.clone()),
        wallet(6).deploy(0, log),
    ]);
    let receipts = view(&chain).receipts(1).unwrap().unwrap();
    assert_eq!(
        receipts.iter().map(|r| r.logs()[0].data.data.len()).collect::<Vec<_>>(),
        [60_000; 3]
    );
    let root = alloy_consensus::proofs::calculate_receipt_root(&receipts);
    assert_eq!(root, header_of(&chain.log.blocks()[0]).receipts_root);
}

#[test]
fn accounts_are_read_at_old_heights_and_from_disk() {
    let (mut chain, token) = with_token();
    chain.ledger.flush().unwrap();
    chain.add_all(&[wallet(6).pay(1, wallet(7).address, Amount(9))]);
    let view = view(&chain);
    let nonces: Vec<u64> = (0..=3)
        .map(|height| view.account(&wallet(6).address, At::Height(height)).unwrap().nonce)
        .collect();
    assert_eq!(nonces, [0, 0, 1, 2]);
    assert!(view.code(&token, At::Height(0)).unwrap().is_empty());
    assert!(!view.code(&token, At::Height(1)).unwrap().is_empty());
    assert!(matches!(view.account(&token, At::Height(9)), Err(ViewError::At(_))));
    assert_eq!(view.tip().height, Height(3));
}

#[test]
fn a_proof_of_the_tip_verifies_against_its_header() {
    let (chain, token) = with_token();
    let proof = view(&chain).proof(&token, &[], At::Tip).unwrap();
    let key = alloy_trie::Nibbles::unpack(alloy_primitives::keccak256(token));
    let leaf = proof.account.map(alloy_rlp::encode);
    let root = view(&chain).tip_header().state_root;
    alloy_trie::proof::verify_proof(root, key, leaf, &proof.proof).unwrap();
}

/// Calls above old blocks see the hashes below those blocks, wherever the tip is.
#[test]
fn block_hashes_are_those_below_the_called_block() {
    let mut chain = Chain::new();
    for _ in 0..4 {
        chain.add(&[]);
    }
    // Init code that returns BLOCKHASH(NUMBER - 1).
    let code = vec![0x60, 1, 0x43, 0x03, 0x40, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3];
    for height in 1..=4_u64 {
        let request = CallRequest {
            input: code.clone().into(),
            ..Default::default()
        };
        let outcome = view(&chain)
            .call(&request, At::Height(height), &Overrides::default())
            .unwrap();
        let CallOutcome::Returned { output, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(output[..], view(&chain).block_hash(height - 1).unwrap().unwrap().0);
    }
    assert_eq!(chain.ledger.tip().height, Height(4));
}
