//! The supply of OPEN stays constant: nothing is minted, nothing is burned.

use alloy_primitives::{Address, U256};
use consensus::execution::Execution;
use contracts::{
    TestToken,
    address::{FEE_COLLECTOR, STAKE_HUB},
};
use proptest::prelude::*;
use protocol::{Amount, unit::SUPPLY};

use super::support::*;

/// All accounts that can hold OPEN in these tests.
fn holders() -> Vec<Address> {
    let created = (5..=8).flat_map(|n| (0..20).map(move |nonce| wallet(n).address.create(nonce)));
    (1..=20)
        .map(|n| wallet(n).address)
        .chain([FEE_COLLECTOR, STAKE_HUB, Address::repeat_byte(0x77)])
        .chain(created)
        .collect()
}

fn supply(chain: &Chain) -> u128 {
    crate::supply::held_by(&chain.ledger.store().tip(), holders())
        .unwrap()
        .saturating_to()
}

#[test]
fn the_base_fee_goes_to_the_collector_and_the_tip_to_the_proposer() {
    let mut chain = Chain::new();
    let before = chain.balance(wallet(1).address);
    chain.add_all(&[wallet(5).pay(0, wallet(6).address, Amount::open(1))]);
    let header = header_of(&chain.log.blocks()[0]);
    let base_fee = u128::from(header.base_fee_per_gas.unwrap());
    let tip = 1_000_000_000;
    assert_eq!(chain.balance(FEE_COLLECTOR).0, base_fee * 21_000);
    assert_eq!(chain.balance(wallet(1).address).0, before.0 + tip * 21_000);
    let paid = Amount::open(1).0 + (base_fee + tip) * 21_000;
    assert_eq!(chain.balance(wallet(5).address).0, FUNDS.0 - paid);
    assert_eq!(supply(&chain), SUPPLY.0);
}

#[test]
fn the_base_fee_follows_demand_down_to_its_minimum() {
    let mut chain = Chain::new();
    let first = chain.ledger.tip().next_base_fee;
    chain.add(&[]);
    assert_eq!(chain.ledger.tip().next_base_fee, first - first / 8);
    for _ in 0..250 {
        chain.add(&[]);
    }
    assert_eq!(chain.ledger.tip().next_base_fee, 7);
}

#[derive(Clone, Debug)]
enum Deed {
    Pay { from: u8, to: u8, amount: u64 },
    Create { from: u8, burn: bool },
    Fail { from: u8 },
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (5_u8..=8, 1_u8..=20, any::<u64>()).prop_map(|(from, to, amount)| Deed::Pay { from, to, amount }),
        1 => (5_u8..=8, any::<bool>()).prop_map(|(from, burn)| Deed::Create { from, burn }),
        1 => (5_u8..=8).prop_map(|from| Deed::Fail { from }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is paid, created, reverted or run out of gas: balances add up, and a follower agrees.
    #[test]
    fn balances_always_add_up_to_the_supply(blocks in prop::collection::vec(prop::collection::vec(deed(), 0..8), 1..6)) {
        let (mut chain, mut follower) = (Chain::new(), Chain::new());
        let mut nonces = [0_u64; 9];
        for deeds in blocks {
            let offered: Vec<_> = deeds.into_iter().map(|deed| {
                let mut next = |from: u8| {
                    nonces[from as usize] += 1;
                    nonces[from as usize] - 1
                };
                match deed {
                    Deed::Pay { from, to, amount } => {
                        wallet(from).pay(next(from), wallet(to).address, Amount(amount.into()))
                    }
                    Deed::Create { from, burn: false } => wallet(from).deploy(next(from), TestToken::BYTECODE.clone()),
                    // Init code that destroys itself in favour of its caller.
                    Deed::Create { from, burn: true } => wallet(from).deploy(next(from), vec![0x33, 0xff].into()),
                    // An invalid instruction takes all the gas.
                    Deed::Fail { from } => wallet(from).deploy(next(from), vec![0xfe].into()),
                }
            }).collect();
            let built = chain.add_all(&offered);
            let followed = follower.follow(chain.log.blocks().last().unwrap());
            prop_assert_eq!(built.state_root, followed.state_root);
            prop_assert_eq!(supply(&chain), SUPPLY.0);
        }
    }
}

#[test]
fn a_validator_that_pays_itself_gains_nothing() {
    let mut chain = Chain::new();
    chain.add_all(&[wallet(1).pay(0, wallet(1).address, Amount::open(1))]);
    let base_fee = U256::from(header_of(&chain.log.blocks()[0]).base_fee_per_gas.unwrap());
    let lost = FUNDS.0 - chain.balance(wallet(1).address).0;
    assert_eq!(U256::from(lost), base_fee * U256::from(21_000));
}
