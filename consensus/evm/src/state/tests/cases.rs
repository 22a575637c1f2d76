//! Single cases: proposals, crashes, damage, failed flushes, code, proofs, the EVM, and readers on other threads.

use std::sync::atomic::{AtomicBool, Ordering};

use alloy_trie::proof::verify_proof;
use revm::{
    DatabaseCommit, DatabaseRef,
    database::{State, states::bundle_state::BundleRetention},
    state::{Account, EvmStorageSlot, TransactionId},
};

use super::*;

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

/// A database whose writes fail while a switch is on.
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
fn the_flush_after_a_failed_one_writes_everything() {
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
fn a_height_stops_being_readable_before_its_rows_go_away() {
    let kv = Arc::new(Stubborn::default());
    let mut store = StateStore::open(
        kv.clone(),
        Options {
            history: Some(1),
            ..Options::default()
        },
    )
    .unwrap();
    let mut world = World::new();
    for height in 0..4 {
        let next = store.tip().apply(&perform(&mut world, &balance_of(1, height))).unwrap();
        store
            .commit(
                &next,
                BlockId {
                    height,
                    hash: B256::ZERO,
                },
                Vec::new(),
            )
            .unwrap();
        kv.1.store(height == 3, Ordering::SeqCst);
        assert_eq!(store.flush().is_err(), height == 3);
    }
    assert!(matches!(store.at(1), Err(AtError::Pruned { height: 1, oldest: 2 })));
    assert!(store.at(2).is_ok());
}

#[test]
fn a_snapshot_below_the_window_returns_an_error() {
    let options = Options {
        history: Some(1),
        ..Options::default()
    };
    let mut store = StateStore::open(Arc::new(MemKv::default()), options).unwrap();
    let mut world = World::new();
    for height in 0..2 {
        commit(&mut store, &mut world, height, &balance_of(1, height));
    }
    let old = store.at(0).unwrap();
    commit(&mut store, &mut world, 2, &balance_of(1, 2));
    store.flush().unwrap();
    let Err(StateError::Accounts(NodeError::Source { source, .. })) = old.account(&address(1)) else {
        panic!("a pruned height was read")
    };
    assert_eq!(
        source.to_string(),
        "the state of height 0 is pruned; 1 is the oldest that is kept"
    );
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
fn the_evm_reads_a_snapshot_and_its_changes_apply_to_it() {
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
    evm.merge_transitions(BundleRetention::Reverts);
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
fn snapshots_stay_readable_while_blocks_are_committed_flushed_and_pruned() {
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
