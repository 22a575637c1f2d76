//! Whole histories compared with plain maps: every height in the window, before and after flushing, pruning, reopening.

use std::collections::BTreeSet;

use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};
use proptest::prelude::*;
use revm::{
    database::{AccountStatus, BundleAccount, BundleState, states::StorageSlot},
    state::AccountInfo,
};

use super::*;
use crate::trie::diff;

/// An account in the plain map.
#[derive(Debug, Clone, Default, PartialEq)]
struct Plain {
    nonce: u64,
    balance: u64,
    code: Vec<u8>,
    slots: BTreeMap<u64, u64>,
}

type World = BTreeMap<Address, Plain>;

/// A change of one account by a block.
#[derive(Debug, Clone)]
enum Step {
    Change { balance: u64, slots: Vec<(u64, u64)> },
    Destroy,
    Recreate { code: Vec<u8>, slots: Vec<(u64, u64)> },
}

/// A block: changes by account, and the operations on the store after it.
type Round = (BTreeMap<u8, Step>, Then);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Nothing,
    Flush,
    FlushAndReopen,
}

fn address(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn info(plain: &Plain) -> AccountInfo {
    let code = Bytecode::new_raw(plain.code.clone().into());
    AccountInfo {
        balance: U256::from(plain.balance),
        nonce: plain.nonce,
        code_hash: keccak256(&plain.code),
        code: Some(code),
        account_id: None,
    }
}

/// Performs a block on the plain map and bundles it as revm would.
fn perform(world: &mut World, steps: &BTreeMap<u8, Step>) -> BundleState {
    let mut bundle = BundleState::default();
    for (&n, step) in steps {
        let before = world.get(&address(n)).cloned();
        let mut after = before.clone().unwrap_or_default();
        let (written, status) = match step {
            Step::Change { balance, slots } => {
                (after.balance, after.nonce) = (*balance, after.nonce + 1);
                let status = if before.is_some() {
                    AccountStatus::Changed
                } else {
                    AccountStatus::InMemoryChange
                };
                (slots.clone(), status)
            }
            Step::Destroy if before.is_none() => continue,
            Step::Destroy => (Vec::new(), AccountStatus::Destroyed),
            Step::Recreate { code, slots } => {
                after = Plain {
                    nonce: 1,
                    code: code.clone(),
                    ..Plain::default()
                };
                (slots.clone(), AccountStatus::DestroyedChanged)
            }
        };
        let mut slots = revm::primitives::StorageKeyMap::default();
        for (slot, value) in written {
            let old = after.slots.get(&slot).copied().unwrap_or(0);
            slots.insert(
                U256::from(slot),
                StorageSlot::new_changed(U256::from(old), U256::from(value)),
            );
        }
        for (slot, value) in &slots {
            after.slots.insert(slot.to(), value.present_value.to());
        }
        after.slots.retain(|_, value| *value != 0);
        let present = match step {
            Step::Destroy => {
                world.remove(&address(n));
                None
            }
            Step::Change { .. } | Step::Recreate { .. } => {
                world.insert(address(n), after.clone());
                Some(info(&after))
            }
        };
        let account = BundleAccount::new(before.as_ref().map(info), present, slots, status);
        bundle.state.insert(address(n), account);
    }
    bundle
}

fn oracle(world: &World) -> B256 {
    state_root_unhashed(world.iter().map(|(address, plain)| {
        let slots = plain
            .slots
            .iter()
            .map(|(slot, value)| (B256::from(U256::from(*slot)), U256::from(*value)));
        let account = TrieAccount {
            nonce: plain.nonce,
            balance: U256::from(plain.balance),
            storage_root: storage_root_unhashed(slots),
            code_hash: keccak256(&plain.code),
        };
        (*address, account)
    }))
}

/// Reads everything in `state` and compares it with the plain map.
fn assert_reads(state: &WorldState, world: &World) {
    assert_eq!(state.root(), oracle(world));
    for n in 0..8 {
        let (account, plain) = (state.account(&address(n)).unwrap(), world.get(&address(n)));
        assert_eq!(account.is_some(), plain.is_some());
        for slot in 0..12 {
            let expect = plain.and_then(|plain| plain.slots.get(&slot)).copied().unwrap_or(0);
            assert_eq!(
                state.storage(&address(n), U256::from(slot)).unwrap(),
                U256::from(expect)
            );
        }
        if let (Some(account), Some(plain)) = (account, plain) {
            assert_eq!(
                (account.nonce, account.balance),
                (plain.nonce, U256::from(plain.balance))
            );
            assert_eq!(state.code(&account.code_hash).unwrap(), Some(plain.code.clone().into()));
        }
    }
}

/// The node rows are those of the tip and no others, and nothing is kept for heights outside the window.
fn assert_tidy(kv: &MemKv, tip: &WorldState, applied: Applied) {
    let empty = Trie::empty(Arc::new(NoNodes));
    let mut expect = BTreeSet::new();
    let mut nodes = |owner: Option<B256>, trie: &Trie| {
        expect.extend(
            diff(&empty, trie)
                .unwrap()
                .iter()
                .map(|change| layout::node_key(owner.as_ref(), &change.path)),
        );
    };
    nodes(None, &tip.accounts);
    for n in 0..8 {
        if let Some(account) = tip.account(&address(n)).unwrap() {
            let owner = keccak256(address(n));
            nodes(Some(owner), &tip.storage_trie(owner, account.storage_root));
        }
    }
    let mut found = BTreeSet::new();
    for key in kv.rows().into_keys() {
        let height_at = |at: usize| u64::from_be_bytes(key[at..at + 8].try_into().unwrap());
        match key[0] {
            b'A' | b'S' => assert!(found.insert(key)),
            b'U' => assert!(height_at(key.len() - 8) > applied.oldest),
            b'H' => assert!(height_at(1) > applied.oldest),
            b'R' => assert!(height_at(1) >= applied.oldest),
            _ => (),
        }
    }
    assert_eq!(found, expect);
}

fn any_rounds() -> impl Strategy<Value = Vec<Round>> {
    let slots = || proptest::collection::vec((0_u64..12, 0_u64..3), 0..8);
    let step = prop_oneof![
        5 => (any::<u64>(), slots()).prop_map(|(balance, slots)| Step::Change { balance, slots }),
        1 => Just(Step::Destroy),
        1 => (proptest::collection::vec(0_u8..0x60, 1..40), slots())
            .prop_map(|(code, slots)| Step::Recreate { code, slots }),
    ];
    let then = prop_oneof![4 => Just(Then::Nothing), 1 => Just(Then::Flush), 1 => Just(Then::FlushAndReopen)];
    proptest::collection::vec((proptest::collection::btree_map(0_u8..8, step, 0..5), then), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_height_in_the_window_reads_as_it_was(
        base in prop_oneof![Just(0), 0_u64..1_000],
        rounds in any_rounds(), window in proptest::option::weighted(0.8, 0_u64..5), nodes_max in 0_usize..60,
    ) {
        let kv = Arc::new(MemKv::default());
        let options = Options { history: window, nodes_max };
        let mut store = StateStore::open(kv.clone(), options).unwrap();
        let (mut world, mut worlds, mut held) = (World::new(), Vec::new(), Vec::new());
        for (height, (steps, then)) in (base..).zip(&rounds) {
            let bundle = perform(&mut world, steps);
            let proposal = store.tip().apply(&bundle).unwrap();
            assert_reads(&proposal, &world);
            let id = BlockId { height, hash: B256::with_last_byte(7) };
            let committed = store.commit(&proposal, id, Vec::new()).unwrap();
            prop_assert_eq!(committed.height(), Some(height));
            worlds.push(world.clone());
            held.push(committed);
            if *then != Then::Nothing {
                let applied = store.flush().unwrap().unwrap();
                prop_assert_eq!((applied.height, applied.root), (height, oracle(&world)));
                assert_tidy(&kv, &store.tip(), applied);
            }
            if *then == Then::FlushAndReopen {
                store = StateStore::open(kv.clone(), options).unwrap();
                // Snapshots of the store that is gone read rows it no longer knows to be pruned.
                held = (base..=height).map(|height| store.at(height).unwrap_or_else(|_| store.tip())).collect();
            }
            let oldest = store.reader().oldest();
            prop_assert!(oldest >= base && oldest <= window.map_or(base, |window| base.max(height.saturating_sub(window))));
            for ((past, world), held) in (base..=height).zip(&worlds).zip(&held) {
                if past >= oldest {
                    assert_reads(&store.at(past).unwrap(), world);
                    assert_reads(held, world);
                } else {
                    let pruned = matches!(store.at(past), Err(AtError::Pruned { .. }));
                    prop_assert!(pruned);
                }
            }
            prop_assert!(matches!(store.at(height + 1), Err(AtError::Unknown(_))));
        }
    }
}

mod cases;
