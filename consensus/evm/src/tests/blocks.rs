use alloy_consensus::{Header, TxEip4844};
use alloy_primitives::{Address, B64, B256, Bloom, U256};
use consensus::execution::Execution;
use protocol::{Account, Amount, Time};

use super::support::*;
use crate::block;

/// A block with one payment, and the ledger it fits on.
fn valid() -> (Chain, Vec<u8>) {
    let mut chain = Chain::new();
    let slot = chain.slot();
    let built = chain
        .ledger
        .build(&slot, &[wallet(5).pay(0, wallet(6).address, Amount::open(1))])
        .unwrap();
    (Chain::new(), built.block)
}

fn with_header(bytes: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut block = block::decode(bytes).unwrap();
    change(&mut block.header);
    alloy_rlp::encode(block)
}

#[test]
fn two_ledgers_agree_on_every_root() {
    let (mut builder, mut follower) = (Chain::new(), Chain::new());
    for height in 0..7_u64 {
        let offered: Vec<_> = (5..=8)
            .map(|n| wallet(n).pay(height, wallet(9).address, Amount(u128::from(n))))
            .collect();
        let built = builder.add_all(&offered);
        let followed = follower.follow(builder.log.blocks().last().unwrap());
        assert_eq!((built.tip, built.state_root), (followed.tip, followed.state_root));
        assert_eq!(built.included, followed.included);
        assert_eq!(followed.transactions, 4);
    }
}

#[test]
fn a_valid_block_is_accepted() {
    let (mut chain, block) = valid();
    assert_eq!(chain.verdict(&block), Ok(()));
}

#[test]
fn every_broken_header_rule_is_refused() {
    let (mut chain, block) = valid();
    let wrong = B256::repeat_byte(9);
    type Change = Box<dyn FnOnce(&mut Header)>;
    let cases: Vec<(&str, Change)> = vec![
        ("parent hash is", Box::new(move |h| h.parent_hash = wrong)),
        ("number is", Box::new(|h| h.number += 1)),
        ("before its parent's", Box::new(|h| h.timestamp = START_S - 1)),
        ("ahead of", Box::new(|h| h.timestamp += 100)),
        ("gas limit is", Box::new(|h| h.gas_limit += 1)),
        ("base fee is", Box::new(|h| h.base_fee_per_gas = Some(1))),
        (
            "not a validator's account",
            Box::new(|h| h.beneficiary = Address::repeat_byte(1)),
        ),
        (
            "parent beacon block root is",
            Box::new(move |h| h.parent_beacon_block_root = Some(wrong)),
        ),
        ("mix hash is", Box::new(move |h| h.mix_hash = wrong)),
        ("ommers hash is", Box::new(move |h| h.ommers_hash = wrong)),
        (
            "withdrawals root is",
            Box::new(move |h| h.withdrawals_root = Some(wrong)),
        ),
        ("requests hash is", Box::new(move |h| h.requests_hash = Some(wrong))),
        ("difficulty is", Box::new(|h| h.difficulty = U256::from(1))),
        ("nonce is", Box::new(|h| h.nonce = B64::repeat_byte(1))),
        ("extra data is", Box::new(|h| h.extra_data = vec![1].into())),
        ("excess blob gas is", Box::new(|h| h.excess_blob_gas = Some(1))),
        ("blob gas used is", Box::new(|h| h.blob_gas_used = Some(131_072))),
        ("above the limit", Box::new(|h| h.gas_used = u64::MAX)),
        ("gas used is 21000", Box::new(|h| h.gas_used = 22_000)),
        ("transactions root is", Box::new(move |h| h.transactions_root = wrong)),
        ("receipts root is", Box::new(move |h| h.receipts_root = wrong)),
        ("logs bloom", Box::new(|h| h.logs_bloom = Bloom::repeat_byte(1))),
        ("state root is", Box::new(move |h| h.state_root = wrong)),
    ];
    for (part, change) in cases {
        let verdict = chain.verdict(&with_header(&block, change)).expect_err(part);
        assert!(verdict.contains(part), "`{verdict}` should say `{part}`");
    }
}

#[test]
fn a_timestamp_may_equal_its_parents() {
    let mut chain = Chain::new();
    let mut slot = chain.slot();
    // A clock behind the parent's gives the parent's time.
    slot.time = Time::from_secs(5);
    let built = chain.ledger.build(&slot, &[]).unwrap();
    assert_eq!(header_of(&built.block).timestamp, START_S);
    assert_eq!(Chain::new().verdict(&built.block), Ok(()));
}

#[test]
fn uncles_withdrawals_and_blobs_are_refused() {
    let (mut chain, bytes) = valid();
    let mut block = block::decode(&bytes).unwrap();
    block.body.ommers.push(Header::default());
    assert!(
        chain
            .verdict(&alloy_rlp::encode(&block))
            .unwrap_err()
            .contains("uncles")
    );
    let mut block = block::decode(&bytes).unwrap();
    block.body.withdrawals = Some(vec![Default::default()].into());
    assert!(
        chain
            .verdict(&alloy_rlp::encode(&block))
            .unwrap_err()
            .contains("withdrawals")
    );
    let mut block = block::decode(&bytes).unwrap();
    block.body.transactions.push(blob_transaction());
    assert!(
        chain
            .verdict(&alloy_rlp::encode(&block))
            .unwrap_err()
            .contains("carries blobs (type 3)")
    );
}

fn blob_transaction() -> alloy_consensus::TxEnvelope {
    use alloy_consensus::{SignableTransaction, TxEip4844Variant};
    let transaction = TxEip4844 {
        chain_id: CHAIN_ID,
        ..Default::default()
    };
    let signature = wallet(5).sign_hash(transaction.signature_hash());
    let transaction: TxEip4844Variant = transaction.into();
    transaction.into_signed(signature).into()
}

#[test]
fn an_unknown_height_is_refused() {
    let (mut chain, block) = valid();
    let slot = chain.slot();
    let verdict = chain.ledger.verify(
        &block,
        slot.height.next(),
        slot.time,
        slot.parent_certificate,
        &proposers(),
    );
    assert!(
        verdict
            .unwrap()
            .unwrap_err()
            .0
            .contains("height 2 is not the one above the tip")
    );
}

#[test]
fn executed_blocks_of_one_height_are_kept_until_one_is_committed() {
    let mut chain = Chain::new();
    let slot = chain.slot();
    let pays = [
        wallet(5).pay(0, wallet(6).address, Amount(1)),
        wallet(7).pay(0, wallet(6).address, Amount(2)),
    ];
    let first = chain.ledger.build(&slot, &pays[..1]).unwrap();
    let second = chain.ledger.build(&slot, &pays[1..]).unwrap();
    assert_ne!(first.hash, second.hash);
    assert_eq!(chain.ledger.pending_block(first.hash), Some(&first.block[..]));
    assert_eq!(chain.ledger.pending_block(second.hash), Some(&second.block[..]));
    let committed = chain.ledger.commit(second.hash).unwrap();
    assert_eq!(committed.included.len(), 1);
    assert_eq!(committed.included[0].1, Account(wallet(7).address.0.0));
    assert_eq!(chain.ledger.pending_block(first.hash), None);
    assert!(
        chain
            .ledger
            .commit(first.hash)
            .unwrap_err()
            .to_string()
            .contains("was not executed here")
    );
    assert_eq!(chain.ledger.account(Account(wallet(5).address.0.0)).unwrap().nonce, 0);
}

#[test]
fn pending_blocks_are_bounded() {
    let mut chain = Chain::new();
    let slot = chain.slot();
    let hashes: Vec<_> = (1..=40_u128)
        .map(|amount| {
            chain
                .ledger
                .build(&slot, &[wallet(5).pay(0, wallet(6).address, Amount(amount))])
                .unwrap()
                .hash
        })
        .collect();
    let waiting = hashes
        .iter()
        .filter(|hash| chain.ledger.pending_block(**hash).is_some())
        .count();
    assert_eq!(waiting, 32);
    assert!(chain.ledger.pending_block(hashes[39]).is_some(), "the newest wait");
}

#[test]
fn every_type_of_transaction_is_included() {
    let mut chain = Chain::new();
    let to = wallet(6).address;
    let mut delegate = set_code(1, wallet(7).address);
    delegate.authorization_list = vec![wallet(7).authorize(contracts::address::STAKE_HUB, 0)];
    let offered = [
        wallet(5).sign(legacy(0, to)),
        wallet(5).sign(delegate),
        wallet(5).sign(with_access_list(2, to)),
        wallet(5).pay(3, to, Amount(1)),
    ];
    chain.add_all(&offered);
    let code = chain
        .ledger
        .view(chain.log.clone())
        .code(&wallet(7).address, crate::view::At::Tip)
        .unwrap();
    assert_eq!(code[..3], [0xef, 0x01, 0x00], "the account is delegated");
}

#[test]
fn a_builder_skips_invalid_transactions_and_rejects_those_that_no_block_can_include() {
    let mut chain = Chain::new();
    chain.add_all(&[wallet(5).pay(0, wallet(6).address, Amount(1))]);
    let used = wallet(5).pay(0, wallet(6).address, Amount(2));
    let gap = wallet(5).pay(7, wallet(6).address, Amount(1));
    let poor = wallet(9).pay(0, wallet(6).address, Amount(1));
    let good = wallet(5).pay(1, wallet(6).address, Amount(1));
    let cheap = wallet(6).sign(alloy_consensus::TxEip1559 {
        max_fee_per_gas: 1,
        max_priority_fee_per_gas: 1,
        gas_limit: 21_000,
        to: alloy_primitives::TxKind::Call(wallet(5).address),
        ..fee_market(0)
    });
    let garbage: std::sync::Arc<[u8]> = vec![1, 2, 3].into();
    let name = |raw: &[u8]| protocol::TxHash(alloy_primitives::keccak256(raw).0);
    let slot = chain.slot();
    let offered = [used.clone(), gap, poor.clone(), good, cheap, garbage.clone()];
    let mut built = chain.ledger.build(&slot, &offered).unwrap();
    built.rejected.sort();
    let mut expect = vec![name(&used), name(&poor), name(&garbage)];
    expect.sort();
    assert_eq!(built.rejected, expect);
    assert_eq!(chain.ledger.commit(built.hash).unwrap().transactions, 1);
}

#[test]
fn a_block_never_outgrows_its_limits() {
    let mut chain = Chain::new();
    // 40 transactions of 100 kB, each with the gas for it: bytes run out first.
    let offered: Vec<_> = (5..=8)
        .flat_map(|n| (0..10).map(move |nonce| (n, nonce)))
        .map(|(n, nonce)| {
            wallet(n).sign(alloy_consensus::TxEip1559 {
                gas_limit: 1_100_000,
                to: alloy_primitives::TxKind::Call(wallet(9).address),
                input: vec![0; 100_000].into(),
                ..fee_market(nonce)
            })
        })
        .collect();
    let slot = chain.slot();
    let built = chain.ledger.build(&slot, &offered).unwrap();
    assert!(
        built.block.len() <= block::BLOCK_BYTES_MAX,
        "{} bytes",
        built.block.len()
    );
    assert!(built.rejected.is_empty(), "what did not fit may fit later");
    let committed = chain.ledger.commit(built.hash).unwrap();
    assert_eq!(committed.transactions, 20);
}

#[test]
fn a_block_hash_is_read_without_executing_the_block() {
    let (chain, bytes) = valid();
    let named = chain.ledger.header_claim(&bytes).unwrap();
    assert_eq!(named.hash.0, header_of(&bytes).hash_slow().0);
    assert_eq!(named.parent_certificate, chain.slot().parent_certificate);
    assert_eq!(chain.ledger.header_claim(&bytes[..40]), None);
}
