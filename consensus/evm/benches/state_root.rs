//! Measures the state root of a block: 1,000 random changes to 200,000 accounts.
//!
//! `cargo bench -p evm --bench state_root`. The oracle, alloy-trie, has no store and rebuilds everything; it is measured in
//! the same run because only the ratio says anything about another machine.
#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::disallowed_methods,
    reason = "a bench shows figures"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{Nibbles, TrieAccount, root::state_root};
use evm::{
    state::{BlockId, MemKv, Options, StateStore},
    trie::{Change, NoNodes, NodeSource, SourceError, Trie, diff},
};
use revm::{
    database::{AccountStatus, BundleAccount, BundleState},
    state::AccountInfo,
};

const ACCOUNTS: u32 = 200_000;
const CHANGES: u32 = 1_000;
const ROUNDS: u32 = 10;

fn main() {
    let mut accounts: BTreeMap<B256, TrieAccount> = (0..ACCOUNTS).map(|n| (key(n), account(n, 0))).collect();
    let empty = Trie::empty(Arc::new(NoNodes));
    let mut trie = empty.clone();
    let build = timed(|| {
        change(&mut trie, accounts.iter());
        trie.root();
    });
    let stored: BTreeMap<Nibbles, Bytes> = diff(&empty, &trie)
        .expect("all in memory")
        .into_iter()
        .filter_map(row)
        .collect();
    let rows = Arc::new(Rows(stored));
    let first = trie.clone();

    let [mut cached, mut differ, mut reloaded, mut rebuilt] = [Duration::ZERO; 4];
    for round in 1..=ROUNDS {
        let changes: BTreeMap<B256, TrieAccount> = (0..CHANGES)
            .map(|n| pick(round, n))
            .map(|n| (key(n), account(n, u64::from(round))))
            .collect();
        let before = trie.clone();
        cached += timed(|| {
            change(&mut trie, changes.iter());
            trie.root();
        });
        differ += timed(|| assert!(diff(&before, &trie).expect("all in memory").len() >= changes.len()));

        let (mut cold, mut warm) = (Trie::from_root(first.root(), rows.clone()), first.clone());
        reloaded += timed(|| {
            change(&mut cold, changes.iter());
            cold.root();
        });
        change(&mut warm, changes.iter());
        assert_eq!(cold.root(), warm.root(), "what is in memory makes no difference");

        accounts.extend(changes);
        let mut oracle = B256::ZERO;
        rebuilt += timed(|| oracle = state_root(accounts.iter().map(|(key, account)| (*key, *account))));
        assert_eq!(trie.root(), oracle, "the roots agree");
    }

    println!(
        "{CHANGES} random changes to {ACCOUNTS} accounts, mean of {ROUNDS} rounds, {} nodes stored",
        rows.0.len()
    );
    println!(
        "{:<44}{:>12}{:>14}{:>12}",
        "", "ms per block", "µs per change", "of cached"
    );
    let line = |what: &str, total: Duration| {
        let (each, ratio) = (
            total.as_secs_f64() / f64::from(ROUNDS),
            total.as_secs_f64() / cached.as_secs_f64(),
        );
        println!(
            "{what:<44}{:>12.2}{:>14.2}{ratio:>11.1}x",
            each * 1e3,
            each * 1e6 / f64::from(CHANGES)
        );
    };
    line("cached trie: changes and root", cached);
    line("its write and undo set (diff)", differ);
    line("reloaded from the root, nodes in a map", reloaded);
    line("alloy-trie, full rebuild", rebuilt);
    println!(
        "building it from nothing: {:.2} µs per account",
        build.as_secs_f64() * 1e6 / f64::from(ACCOUNTS)
    );
    store();
}

/// The same block through the store, each stage by itself; the database is a map.
fn store() {
    let mut store = StateStore::open(MemKv::default(), Options::default()).expect("empty");
    let genesis = bundle((0..ACCOUNTS).map(|n| (n, None, 0)));
    let id = |height: u32| BlockId {
        height: height.into(),
        hash: B256::ZERO,
    };
    let state = store.tip().apply(&genesis).expect("in memory");
    store.commit(&state, id(0), Vec::new()).expect("follows");
    store.flush().expect("in memory");
    let [mut apply, mut commit, mut flush] = [Duration::ZERO; 3];
    let mut nonces = vec![0; ACCOUNTS as usize];
    for round in 1..=ROUNDS {
        let picked: BTreeSet<u32> = (0..CHANGES).map(|n| pick(round, n)).collect();
        let changes = bundle(picked.into_iter().map(|n| {
            let old = std::mem::replace(&mut nonces[n as usize], round.into());
            (n, Some(old), round.into())
        }));
        let (tip, mut next) = (store.tip(), None);
        apply += timed(|| next = Some(tip.apply(&changes).expect("in memory")));
        let next = next.expect("just applied");
        commit += timed(|| drop(store.commit(&next, id(round), Vec::new()).expect("follows")));
        flush += timed(|| assert!(store.flush().expect("in memory").is_some()));
    }
    let ms = |total: Duration| total.as_secs_f64() * 1e3 / f64::from(ROUNDS);
    println!(
        "through the store, ms per block: apply {:.2}, commit {:.2}, flush of one block {:.2}",
        ms(apply),
        ms(commit),
        ms(flush)
    );
}

fn bundle(changes: impl Iterator<Item = (u32, Option<u64>, u64)>) -> BundleState {
    let info = |n: u32, nonce: u64| AccountInfo {
        nonce,
        balance: U256::from(n) + U256::from(1),
        ..Default::default()
    };
    let mut bundle = BundleState::default();
    for (n, old, new) in changes {
        let status = if old.is_some() {
            AccountStatus::Changed
        } else {
            AccountStatus::InMemoryChange
        };
        let old = old.map(|old| info(n, old));
        let account = BundleAccount::new(old, Some(info(n, new)), Default::default(), status);
        bundle
            .state
            .insert(Address::left_padding_from(&n.to_be_bytes()), account);
    }
    bundle
}

#[derive(Debug)]
struct Rows(BTreeMap<Nibbles, Bytes>);

impl NodeSource for Rows {
    fn node(&self, path: &Nibbles) -> Result<Option<Bytes>, SourceError> {
        // Copied, as a database would.
        Ok(self.0.get(path).map(|rlp| Bytes::copy_from_slice(rlp)))
    }
}

fn row(change: Change) -> Option<(Nibbles, Bytes)> {
    Some((change.path, change.new?))
}

fn key(n: u32) -> B256 {
    keccak256(n.to_be_bytes())
}

fn account(n: u32, nonce: u64) -> TrieAccount {
    TrieAccount {
        nonce,
        balance: U256::from(n) * U256::from(10).pow(U256::from(18)),
        ..TrieAccount::default()
    }
}

/// The account that change `n` of a round touches: always the same one, so that a run can be repeated.
fn pick(round: u32, n: u32) -> u32 {
    let digest = keccak256([round.to_be_bytes(), n.to_be_bytes()].concat());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % ACCOUNTS
}

fn change<'a>(trie: &mut Trie, changes: impl Iterator<Item = (&'a B256, &'a TrieAccount)>) {
    for (key, account) in changes {
        trie.insert(key.as_slice(), alloy_rlp::encode(account).into())
            .expect("the store has every node");
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
