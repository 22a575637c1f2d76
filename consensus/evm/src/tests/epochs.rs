use alloy_primitives::{B256, U256};
use alloy_sol_types::SolCall;
use consensus::execution::{Epoch, Execution};
use contracts::{StakeHub, address::STAKE_HUB};
use protocol::{Account, Amount, ValidatorKey};

use super::support::*;
use crate::genesis::{ChainGenesis, GenesisValidator};

fn register(number: u8, nonce: u64, stake: Amount) -> std::sync::Arc<[u8]> {
    let key = B256::from(key(number).0);
    wallet(number).call(nonce, STAKE_HUB, stake, StakeHub::registerCall { key }.abi_encode())
}

fn succeeded(chain: &Chain) -> Vec<bool> {
    let view = chain.ledger.view(chain.log.clone());
    let receipts = view.receipts(chain.ledger.tip().height.0).unwrap().unwrap();
    receipts.iter().map(|receipt| receipt.is_success()).collect()
}

fn keys(epoch: &[consensus::execution::Staker]) -> Vec<u8> {
    let number = |staker: &consensus::execution::Staker| (1..=10).find(|number| key(*number) == staker.key);
    epoch
        .iter()
        .map(|staker| number(staker).expect("a key of these tests"))
        .collect()
}

#[test]
fn a_new_validator_votes_from_the_next_epoch_on() {
    let mut chain = Chain::new();
    let genesis = chain.ledger.epoch().unwrap();
    assert_eq!(keys(&genesis.voting), [1, 2, 3, 4]);
    assert_eq!(genesis.voting, genesis.previous);
    chain.add_all(&[register(5, 0, Amount::open(5_000))]);
    assert_eq!(succeeded(&chain), [true]);
    for _ in 2..EPOCH {
        assert_eq!(chain.add(&[]).next_validators, None);
        assert_eq!(chain.ledger.epoch().unwrap(), genesis);
    }
    let next = chain.add(&[]).next_validators.expect("the block ends the epoch");
    assert_eq!(keys(&next), [5, 1, 2, 3, 4], "the largest stake first, then by key");
    assert_eq!((next[0].stake, next[0].key), (Amount::open(5_000), key(5)));
    let edge = chain.ledger.epoch().unwrap();
    assert_eq!(
        edge,
        Epoch {
            voting: next.clone(),
            previous: genesis.voting
        }
    );
    chain.add(&[]);
    assert_eq!(
        chain.ledger.epoch().unwrap(),
        Epoch {
            voting: next.clone(),
            previous: next
        }
    );
}

#[test]
fn no_more_validators_vote_than_the_chain_allows() {
    let mut params = params();
    params.validators_max = 4;
    let mut chain = Chain::of(&ChainGenesis::new(genesis_file(&params)).unwrap());
    chain.add_all(&[register(5, 0, Amount::open(5_000)), register(6, 0, Amount::open(100))]);
    assert_eq!(succeeded(&chain), [true, true]);
    let next = (2..=EPOCH).find_map(|_| chain.add(&[]).next_validators).unwrap();
    assert_eq!(keys(&next), [5, 1, 2, 3]);
}

#[test]
fn the_hub_refuses_what_its_rules_forbid() {
    let mut chain = Chain::new();
    let call =
        |number: u8, nonce: u64, value: Amount, input: Vec<u8>| wallet(number).call(nonce, STAKE_HUB, value, input);
    let taken = StakeHub::registerCall {
        key: B256::from(key(1).0),
    }
    .abi_encode();
    let zero = StakeHub::registerCall { key: B256::ZERO }.abi_encode();
    let unbond = |amount: Amount| {
        StakeHub::beginUnbondCall {
            amount: U256::from(amount.0),
        }
        .abi_encode()
    };
    chain.add_all(&[
        call(5, 0, Amount::open(500), taken),
        call(5, 1, Amount::open(500), zero),
        register(5, 2, Amount::open(99)),
        call(5, 3, Amount::open(1), StakeHub::increaseCall {}.abi_encode()),
        call(5, 4, Amount::ZERO, unbond(Amount(1))),
        call(5, 5, Amount::ZERO, StakeHub::withdrawCall {}.abi_encode()),
        register(1, 0, Amount::open(500)),
        call(1, 1, Amount::ZERO, unbond(Amount::open(950))),
        call(1, 2, Amount::ZERO, unbond(Amount::open(1_001))),
    ]);
    assert_eq!(succeeded(&chain), [false; 9]);
    assert_eq!(
        chain.balance(STAKE_HUB),
        Amount(STAKE.0 * 4),
        "the value of the reverted call was returned"
    );
}

#[test]
fn a_stake_is_paid_out_after_the_unbonding_period_and_not_before() {
    let mut chain = Chain::new();
    let all = StakeHub::beginUnbondCall {
        amount: U256::from(STAKE.0),
    }
    .abi_encode();
    let withdraw = StakeHub::withdrawCall {}.abi_encode();
    chain.add_all(&[wallet(2).call(0, STAKE_HUB, Amount::ZERO, all)]);
    assert_eq!(succeeded(&chain), [true]);
    for nonce in 1..=2 {
        chain.add_all(&[wallet(2).call(nonce, STAKE_HUB, Amount::ZERO, withdraw.clone())]);
        assert_eq!(succeeded(&chain), [false]);
    }
    chain.add_all(&[wallet(2).call(3, STAKE_HUB, Amount::ZERO, withdraw.clone())]);
    assert_eq!(succeeded(&chain), [true]);
    assert_eq!(chain.balance(STAKE_HUB), Amount(STAKE.0 * 3));
    chain.add_all(&[wallet(2).call(4, STAKE_HUB, Amount::ZERO, withdraw)]);
    assert_eq!(succeeded(&chain), [false], "nothing is paid twice");
    assert_eq!(
        keys(&chain.ledger.epoch().unwrap().voting),
        [1, 3, 4],
        "block 5 ended the epoch"
    );
}

#[test]
fn the_last_validator_cannot_leave() {
    let mut chain = Chain::new();
    let all = StakeHub::beginUnbondCall {
        amount: U256::from(STAKE.0),
    }
    .abi_encode();
    let leave: Vec<_> = (1..=4)
        .map(|n| wallet(n).call(0, STAKE_HUB, Amount::ZERO, all.clone()))
        .collect();
    chain.add_all(&leave);
    assert_eq!(succeeded(&chain), [true, true, true, false]);
    let next = (2..=EPOCH).find_map(|_| chain.add(&[]).next_validators).unwrap();
    assert_eq!(keys(&next), [4]);
}

/// The contract's loops are as long here as they can ever be.
#[test]
fn a_full_hub_makes_room_for_a_larger_stake_only() {
    let mut params = params();
    params.validators_max = 256;
    params.validators = (0..=255_u8)
        .map(|n| GenesisValidator {
            account: Account(if n < 4 { wallet(n + 1).address.0.0 } else { [n; 20] }),
            key: ValidatorKey([n; 32]),
            stake: Amount(Amount::open(100).0 + u128::from(n.abs_diff(77))),
        })
        .collect();
    let mut chain = Chain::of(&ChainGenesis::new(genesis_file(&params)).unwrap());
    let join = |number: u8, stake: Amount| {
        let key = alloy_primitives::keccak256([number]);
        wallet(number).sign(alloy_consensus::TxEip1559 {
            gas_limit: 5_000_000,
            to: alloy_primitives::TxKind::Call(STAKE_HUB),
            value: U256::from(stake.0),
            input: StakeHub::registerCall { key }.abi_encode().into(),
            ..fee_market(0)
        })
    };
    chain.add_all(&[join(5, Amount::open(100)), join(6, Amount::open(200))]);
    assert_eq!(succeeded(&chain), [false, true]);
    let next = (2..=EPOCH).find_map(|_| chain.add(&[]).next_validators).unwrap();
    assert_eq!(next.len(), 256);
    assert_eq!(next[0].account, Account(wallet(6).address.0.0));
    assert!(
        next.iter().all(|staker| staker.key.0 != [77; 32]),
        "the smallest made room"
    );
}
