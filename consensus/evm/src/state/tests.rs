//! Whole histories against plain maps: every height in the window, before and after flushing, pruning and reopening.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use alloy_trie::{
    proof::verify_proof,
    root::{state_root_unhashed, storage_root_unhashed},
};
use proptest::prelude::*;
use revm::{
    DatabaseCommit, DatabaseRef,
    database::{AccountStatus, BundleAccount, BundleState, State, states::StorageSlot},
    state::{Account, AccountInfo, EvmStorageSlot, TransactionId},
};

use super::*;
use crate::trie::diff;

/// What an account is in the plain map.
#[derive(Debug, Clone, Default, PartialEq)]
struct Plain {
    nonce: u64,
    balance: u64,
    code: Vec<u8>,
    slots: BTreeMap<u64, u64>,
}

type World = BTreeMap<Address, Plain>;

/// What a block does to one account.
#[derive(Debug, Clone)]
enum Step {
    Change { balance: u64, slots: Vec<(u64, u64)> },
    Destroy,
    Recreate { code: Vec<u8>, slots: Vec<(u64, u64)> },
}

/// A block: steps by account, and what the store is asked for after it.
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
        rounds in any_rounds(), window in proptest::option::weighted(0.8, 0_u64..5), nodes_max in 0_usize..60,
    ) {
        let kv = Arc::new(MemKv::default());
        let options = Options { history: window, nodes_max };
        let mut store = StateStore::open(kv.clone(), options).unwrap();
        let (mut world, mut worlds, mut held) = (World::new(), Vec::new(), Vec::new());
        for (height, (steps, then)) in (0_u64..).zip(&rounds) {
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
                held = (0..=height).map(|height| store.at(height).unwrap_or_else(|_| store.tip())).collect();
            }
            let oldest = store.reader().oldest();
            prop_assert!(oldest <= window.map_or(0, |window| height.saturating_sub(window)));
            for (past, world) in (0..=height).zip(&worlds) {
                if past >= oldest {
                    assert_reads(&store.at(past).unwrap(), world);
                    assert_reads(&held[usize::try_from(past).unwrap()], world);
                } else {
                    let pruned = matches!(store.at(past), Err(AtError::Pruned { .. }));
                    prop_assert!(pruned);
                }
            }
            prop_assert!(matches!(store.at(height + 1), Err(AtError::Unknown(_))));
        }
    }
}

fn balance_of(n: u8, balance: u64) -> BTreeMap<u8, Step> {
    [(
        n,
        Step::Change {
            balance,
            slots: vec![(1, balance), (2, balance)],
        },
    )]
    .into()
}

fn commit(
    store: &mut StateStore<Arc<MemKv>>,
    world: &mut World,
    height: u64,
    steps: &BTreeMap<u8, Step>,
) -> WorldState {
    let next = store.tip().apply(&perform(world, steps)).unwrap();
    store
        .commit(
            &next,
            BlockId {
                height,
                hash: B256::ZERO,
            },
            Vec::new(),
        )
        .unwrap()
}

#[test]
fn a_proposal_builds_on_a_proposal_before_either_is_committed() {
    let mut store = StateStore::open(Arc::new(MemKv::default()), Options::default()).unwrap();
    let mut world = World::new();
    let first = store.tip().apply(&perform(&mut world, &balance_of(1, 5))).unwrap();
    let second = first.apply(&perform(&mut world, &balance_of(2, 6))).unwrap();
    assert_reads(&second, &world);
    assert_eq!(second.height(), None);
    let (one, two) = (
        BlockId {
            height: 1,
            hash: B256::ZERO,
        },
        BlockId {
            height: 2,
            hash: B256::ZERO,
        },
    );
    assert!(matches!(
        store.commit(&second, one, Vec::new()),
        Err(CommitError::Parent { .. })
    ));
    store.commit(&first, one, Vec::new()).unwrap();
    assert!(matches!(
        store.commit(&second, one, Vec::new()),
        Err(CommitError::Height { height: 1, tip: 1 })
    ));
    assert_reads(&store.commit(&second, two, Vec::new()).unwrap(), &world);
}

#[test]
fn blocks_that_were_not_flushed_are_gone_after_a_crash_and_can_be_executed_again() {
    let kv = Arc::new(MemKv::default());
    let (mut world, mut store) = (World::new(), StateStore::open(kv.clone(), Options::default()).unwrap());
    commit(&mut store, &mut world, 0, &balance_of(1, 5));
    let flushed = store.flush().unwrap();
    let flushed_world = world.clone();
    commit(&mut store, &mut world, 1, &balance_of(1, 6));
    assert_eq!(store.unflushed(), 1);

    let mut store = StateStore::open(kv, Options::default()).unwrap();
    assert_eq!((store.applied(), store.tip().height()), (flushed, Some(0)));
    assert_reads(&store.tip(), &flushed_world);
    let mut again = flushed_world;
    assert_reads(&commit(&mut store, &mut again, 1, &balance_of(1, 6)), &world);
}

#[test]
fn a_damaged_database_is_refused_and_a_missing_node_is_named() {
    let kv = Arc::new(MemKv::default());
    let (mut world, mut store) = (World::new(), StateStore::open(kv.clone(), Options::default()).unwrap());
    for n in 0..8 {
        commit(&mut store, &mut world, u64::from(n), &balance_of(n, 5));
    }
    store.flush().unwrap();
    let mut rows = kv.rows();
    let deepest = rows.keys().rfind(|key| key[0] == b'A').unwrap().clone();
    rows.remove(&deepest);
    let damaged = StateStore::open(MemKv::from(rows.clone()), Options::default()).unwrap();
    let errors = (0..8).filter(|n| matches!(damaged.tip().account(&address(*n)), Err(StateError::Accounts(_))));
    assert_eq!(errors.count(), 1);

    rows.remove(&layout::node_key(None, &Nibbles::new()));
    assert!(matches!(
        StateStore::open(MemKv::from(rows.clone()), Options::default()),
        Err(OpenError::Root { .. })
    ));
    rows.insert(layout::APPLIED_KEY.to_vec(), vec![9; 81]);
    assert!(matches!(
        StateStore::open(MemKv::from(rows), Options::default()),
        Err(OpenError::Format)
    ));
}

/// A database that refuses to write while it is told to.
#[derive(Debug, Default)]
struct Stubborn(MemKv, AtomicBool);

impl Kv for Stubborn {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.0.get(key)
    }

    fn first_at_or_after(&self, from: &[u8], below: &[u8]) -> Result<Option<Pair>, KvError> {
        self.0.first_at_or_after(from, below)
    }

    fn apply(&self, batch: Vec<Row>) -> Result<(), KvError> {
        if self.1.load(Ordering::SeqCst) {
            return Err(KvError {
                what: "write",
                source: "no space left".into(),
            });
        }
        self.0.apply(batch)
    }
}

#[test]
fn a_flush_that_failed_is_made_up_for_by_the_next() {
    let kv = Arc::new(Stubborn::default());
    let mut store = StateStore::open(kv.clone(), Options::default()).unwrap();
    let mut world = World::new();
    kv.1.store(true, Ordering::SeqCst);
    let next = store.tip().apply(&perform(&mut world, &balance_of(1, 5))).unwrap();
    let row = (b"receipt".to_vec(), Some(vec![1]));
    store
        .commit(
            &next,
            BlockId {
                height: 0,
                hash: B256::ZERO,
            },
            vec![row],
        )
        .unwrap();
    assert!(store.flush().is_err());
    assert_eq!((store.unflushed(), store.applied()), (1, None));
    assert_reads(&store.tip(), &world);
    assert_eq!(store.reader().row(b"receipt").unwrap(), Some(vec![1]));

    kv.1.store(false, Ordering::SeqCst);
    store.flush().unwrap();
    assert_eq!(store.unflushed(), 0);
    assert_eq!(store.reader().row(b"receipt").unwrap(), Some(vec![1]));
    assert_reads(&StateStore::open(kv, Options::default()).unwrap().tip(), &world);
}

#[test]
fn code_of_any_length_is_read_back_whole() {
    for len in [
        1,
        layout::CHUNK_LEN - 1,
        layout::CHUNK_LEN,
        layout::CHUNK_LEN + 1,
        3 * layout::CHUNK_LEN,
    ] {
        let kv = Arc::new(MemKv::default());
        let (mut world, mut store) = (World::new(), StateStore::open(kv.clone(), Options::default()).unwrap());
        let code: Vec<u8> = (0_u8..7).cycle().take(len).collect();
        commit(
            &mut store,
            &mut world,
            0,
            &[(
                1,
                Step::Recreate {
                    code: code.clone(),
                    slots: vec![],
                },
            )]
            .into(),
        );
        store.flush().unwrap();
        assert!(kv.rows().values().all(|value| value.len() <= 64 << 10));
        let reopened = StateStore::open(kv.clone(), Options::default()).unwrap();
        assert_eq!(
            reopened.tip().code(&keccak256(&code)).unwrap(),
            Some(code.clone().into())
        );

        let mut rows = kv.rows();
        rows.insert(layout::code_key(&keccak256(&code), 0), vec![0xff]);
        let damaged = StateStore::open(MemKv::from(rows), Options::default()).unwrap();
        assert!(matches!(
            damaged.tip().code(&keccak256(&code)),
            Err(StateError::Code(_))
        ));
    }
}

#[test]
fn accounts_and_slots_are_proved_present_and_absent() {
    let mut store = StateStore::open(Arc::new(MemKv::default()), Options::default()).unwrap();
    let mut world = World::new();
    for n in 1..6 {
        commit(&mut store, &mut world, u64::from(n), &balance_of(n, 5));
    }
    let check = |state: &WorldState, who: Address| {
        let proved = state.prove(&who, &[U256::from(1), U256::from(9)]).unwrap();
        let key = Nibbles::unpack(keccak256(who));
        verify_proof(state.root(), key, proved.account.map(alloy_rlp::encode), &proved.proof).unwrap();
        for slot in &proved.slots {
            let root = proved.account.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
            let value = (!slot.value.is_zero()).then(|| alloy_rlp::encode(slot.value));
            let key = Nibbles::unpack(keccak256(B256::from(slot.slot)));
            verify_proof(root, key, value, &slot.proof).unwrap();
        }
        proved
    };
    let present = check(&store.tip(), address(3));
    assert_eq!(
        present.slots.iter().map(|slot| slot.value).collect::<Vec<_>>(),
        [U256::from(5), U256::ZERO]
    );
    assert_eq!(check(&store.tip(), address(7)).account, None);
    // Account 5 came with block 5.
    assert_eq!(check(&store.at(4).unwrap(), address(5)).account, None);
}

/// An account as a transaction that sets its balance leaves it.
fn touched(n: u8, balance: u64, evm: &mut impl revm::Database) -> Account {
    let before = evm.basic(address(n)).unwrap();
    let mut account = before.map_or_else(|| Account::new_not_existing(TransactionId::ZERO), Account::from);
    account.info.balance = U256::from(balance);
    account.mark_touch();
    account
}

#[test]
fn the_evm_reads_a_snapshot_and_its_bundle_makes_the_next() {
    let mut store = StateStore::open(Arc::new(MemKv::default()), Options::default()).unwrap();
    let mut world = World::new();
    let steps = [(
        1,
        Step::Recreate {
            code: vec![0x5b, 0],
            slots: vec![(1, 7)],
        },
    )]
    .into();
    let state = commit(&mut store, &mut world, 0, &steps);
    let db = state.db(Arc::new([(0, B256::repeat_byte(9))].into()));
    assert_eq!(db.block_hash_ref(0).unwrap(), B256::repeat_byte(9));
    assert!(matches!(db.block_hash_ref(1), Err(StateError::BlockHash(1))));
    let hash = db.basic_ref(address(1)).unwrap().unwrap().code_hash;
    assert_eq!(db.code_by_hash_ref(hash).unwrap().original_bytes().to_vec(), [0x5b, 0]);

    // One slot changes, one account is born, and one that is touched stays empty and must not come into being.
    let mut evm = State::builder().with_database_ref(db).with_bundle_update().build();
    let mut changed = touched(1, 5, &mut evm);
    assert_eq!(
        revm::Database::storage(&mut evm, address(1), U256::from(1)).unwrap(),
        U256::from(7)
    );
    let slot = EvmStorageSlot::new_changed(U256::from(7), U256::from(8), TransactionId::ZERO);
    changed.storage.insert(U256::from(1), slot);
    let accounts = [
        (address(1), changed),
        (address(2), touched(2, 6, &mut evm)),
        (address(3), touched(3, 0, &mut evm)),
    ];
    evm.commit(accounts.into_iter().collect());
    evm.merge_transitions(revm::database::states::bundle_state::BundleRetention::Reverts);
    let next = state.apply(&evm.take_bundle()).unwrap();

    let one = world.get_mut(&address(1)).unwrap();
    (one.balance, one.slots) = (5, [(1, 8)].into());
    world.insert(
        address(2),
        Plain {
            balance: 6,
            ..Plain::default()
        },
    );
    assert_reads(&next, &world);
}

/// Readers on other threads see whole blocks, whatever the chain thread is doing.
#[test]
fn snapshots_stay_whole_while_blocks_are_committed_flushed_and_pruned() {
    let options = Options {
        history: Some(40),
        nodes_max: 16,
    };
    let mut store = StateStore::open(Arc::new(MemKv::default()), options).unwrap();
    let all = |balance: u64| {
        (0..8)
            .map(|n| (n, balance_of(n, balance).remove(&n).unwrap()))
            .collect()
    };
    let (mut world, done) = (World::new(), AtomicBool::new(false));
    commit(&mut store, &mut world, 0, &all(0));
    let reader = store.reader();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let tip = reader.tip().height().unwrap();
                    for height in [tip, tip.saturating_sub(3), tip.saturating_sub(9)] {
                        // The chain may move on by more than the window while this thread sleeps.
                        let Ok(state) = reader.at(height) else { continue };
                        for n in 0..8 {
                            match state.storage(&address(n), U256::from(2)) {
                                Ok(value) => assert_eq!(value, U256::from(height)),
                                Err(error) => assert!(reader.oldest() > height, "height {height}: {error:?}"),
                            }
                        }
                    }
                }
            });
        }
        for height in 1..400 {
            commit(&mut store, &mut world, height, &all(height));
            if height % 7 == 0 {
                store.flush().unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(reader.oldest() >= 350);
}
