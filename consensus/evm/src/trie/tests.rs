//! Roots compared with alloy-trie's, versions compared with recorded maps, and every kind of damage to the store.

use std::{collections::BTreeMap, sync::Mutex};

use alloy_trie::HashBuilder;
use proptest::prelude::*;

use super::*;

pub(super) type Pairs = BTreeMap<[u8; 32], Vec<u8>>;

/// Keys that share prefixes of every length, values inline and hashed.
pub(super) fn any_pairs() -> impl Strategy<Value = Vec<([u8; 32], Vec<u8>)>> {
    proptest::collection::vec((any_key(), any_value()), 0..60)
}

fn any_key() -> impl Strategy<Value = [u8; 32]> {
    (0_usize..32, any::<[u8; 2]>(), 0_u8..4).prop_map(|(at, bytes, end)| {
        let mut key = [0x11; 32];
        key[at] = bytes[0];
        key[31] ^= bytes[1] & 0x33;
        key[30] ^= end;
        key
    })
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(1_u8.., 1..4),
        proptest::collection::vec(any::<u8>(), 33..40)
    ]
}

pub(super) fn trie_of(pairs: &Pairs) -> Trie {
    let mut trie = Trie::empty(Arc::new(NoNodes));
    for (key, value) in pairs {
        trie.insert(key, value.clone().into()).unwrap();
    }
    trie
}

fn oracle(pairs: &Pairs) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in pairs {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    builder.root()
}

/// Nodes by path, filled from diffs.
#[derive(Debug, Default)]
struct Rows(Mutex<BTreeMap<Nibbles, Bytes>>);

impl Rows {
    fn apply(&self, changes: &[Change]) {
        let mut rows = self.0.lock().unwrap();
        for change in changes {
            assert_eq!(
                rows.get(&change.path),
                change.old.as_ref(),
                "the old nodes are the stored ones"
            );
            match &change.new {
                Some(rlp) => rows.insert(change.path, rlp.clone()),
                None => rows.remove(&change.path),
            };
        }
    }
}

impl NodeSource for Rows {
    fn node(&self, path: &Nibbles) -> Result<Option<Bytes>, SourceError> {
        Ok(self.0.lock().unwrap().get(path).cloned())
    }
}

proptest! {
    #[test]
    fn roots_agree_with_alloy_trie_down_to_empty(
        steps in proptest::collection::vec((any_key(), proptest::option::weighted(0.6, any_value())), 1..120)
    ) {
        let (mut trie, mut pairs) = (trie_of(&Pairs::new()), Pairs::new());
        for (key, value) in steps {
            match value {
                Some(value) => {
                    trie.insert(&key, value.clone().into()).unwrap();
                    pairs.insert(key, value);
                }
                None => {
                    trie.remove(&key).unwrap();
                    pairs.remove(&key);
                }
            }
            prop_assert_eq!(trie.root(), oracle(&pairs));
        }
        while let Some((key, _)) = pairs.pop_first() {
            trie.remove(&key).unwrap();
            prop_assert_eq!(trie.root(), oracle(&pairs));
        }
        prop_assert!(trie.is_empty());
    }

    /// Versions are stored by their differences, reloaded with nothing in memory, and must hold the same keys; the
    /// older version in memory must not have moved.
    #[test]
    fn versions_survive_storing_reloading_and_shrinking(
        versions in proptest::collection::vec(
            proptest::collection::vec((any_key(), proptest::option::weighted(0.6, any_value())), 0..20), 1..8),
        nodes_max in 0_usize..40,
    ) {
        let rows = Arc::new(Rows::default());
        let (mut trie, mut pairs) = (Trie::empty(rows.clone()), Pairs::new());
        for changes in versions {
            let (before, before_pairs) = (trie.clone(), pairs.clone());
            for (key, value) in changes {
                match value {
                    Some(value) => {
                        trie.insert(&key, value.clone().into()).unwrap();
                        pairs.insert(key, value);
                    }
                    None => {
                        trie.remove(&key).unwrap();
                        pairs.remove(&key);
                    }
                }
            }
            let (root, changes) = (trie.root(), diff(&before, &trie).unwrap());
            prop_assert_eq!(root, oracle(&pairs));
            for (key, value) in &before_pairs {
                prop_assert_eq!(before.get(key).unwrap(), Some(Bytes::copy_from_slice(value)));
            }
            rows.apply(&changes);
            let reloaded = Trie::from_root(root, rows.clone());
            trie = trie.shrink_to(nodes_max);
            prop_assert!(trie.nodes_in_memory() <= nodes_max);
            for (key, value) in &pairs {
                prop_assert_eq!(reloaded.get(key).unwrap(), Some(Bytes::copy_from_slice(value)));
                prop_assert_eq!(trie.get(key).unwrap(), Some(Bytes::copy_from_slice(value)));
            }
            // The store holds this version's nodes and no others.
            let alone = diff(&Trie::empty(Arc::new(NoNodes)), &reloaded).unwrap();
            prop_assert_eq!(rows.0.lock().unwrap().len(), alone.len());
            trie = trie.shrink_to(nodes_max);
        }
    }

    #[test]
    fn a_damaged_store_is_an_error_that_names_the_node(pairs in any_pairs(), damage in any::<u8>(), at in any::<usize>()) {
        let pairs: Pairs = pairs.into_iter().collect();
        let trie = trie_of(&pairs);
        let rows = Arc::new(Rows::default());
        rows.apply(&diff(&Trie::empty(Arc::new(NoNodes)), &trie).unwrap());
        let mut stored = rows.0.lock().unwrap();
        prop_assume!(!stored.is_empty());
        let path = *stored.keys().nth(at % stored.len()).unwrap();
        if damage % 2 == 0 {
            stored.remove(&path);
        } else {
            stored.insert(path, vec![damage; usize::from(damage)].into());
        }
        drop(stored);
        let empty = Trie::empty(Arc::new(NoNodes));
        match diff(&empty, &Trie::from_root(trie.root(), rows)) {
            Err(NodeError::Missing { path: named, .. } | NodeError::Mismatch { path: named, .. }) => prop_assert_eq!(*named, path),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn a_failed_removal_leaves_the_trie_as_it_was() {
    // Two leaves below one branch: removing one needs the other, which is not in the store.
    let pairs: Pairs = [([0x11; 32], vec![1; 40]), ([0x21; 32], vec![2; 40])].into();
    let trie = trie_of(&pairs);
    let rows = Arc::new(Rows::default());
    rows.apply(&diff(&Trie::empty(Arc::new(NoNodes)), &trie).unwrap());
    let neighbour = rows.0.lock().unwrap().remove(&Nibbles::from_nibbles([2])).unwrap();

    let mut reloaded = Trie::from_root(trie.root(), rows.clone());
    assert!(matches!(reloaded.remove(&[0x11; 32]), Err(NodeError::Missing { .. })));
    assert_eq!(reloaded.root(), trie.root());

    rows.0.lock().unwrap().insert(Nibbles::from_nibbles([2]), neighbour);
    reloaded.remove(&[0x11; 32]).unwrap();
    assert_eq!(reloaded.root(), root_of([(&[0x21; 32][..], &[2; 40][..])]).unwrap());
}

#[test]
fn a_key_may_be_the_prefix_of_another() {
    let mut trie = trie_of(&Pairs::new());
    for key in [&b"do"[..], b"dog", b"doge", b""] {
        trie.insert(key, Bytes::copy_from_slice(key).into_iter().chain([1]).collect())
            .unwrap();
    }
    assert_eq!(trie.get(b"dog").unwrap(), Some(Bytes::from_static(b"dog\x01")));
    let longer = trie.clone();
    trie.remove(b"dog").unwrap();
    assert_eq!(trie.get(b"dog").unwrap(), None);
    assert_eq!(trie.get(b"doge").unwrap(), longer.get(b"doge").unwrap());
    assert!(matches!(trie.get(&[0; 33]), Err(NodeError::KeyTooLong(33))));
}

#[test]
fn hashing_in_parallel_gives_the_same_root() {
    let pairs: Pairs = (0_u32..2_000)
        .map(|n| (keccak256(n.to_be_bytes()).0, vec![7; 40]))
        .collect();
    assert_eq!(trie_of(&pairs).root(), oracle(&pairs));
}

#[test]
fn a_diff_does_not_load_subtrees_that_both_versions_share() {
    let pairs: Pairs = (0_u32..2_000)
        .map(|n| (keccak256(n.to_be_bytes()).0, vec![7; 40]))
        .collect();
    let trie = trie_of(&pairs);
    let rows = Arc::new(Rows::default());
    rows.apply(&diff(&Trie::empty(Arc::new(NoNodes)), &trie).unwrap());

    // Two versions that share no memory, only hashes.
    let old = Trie::from_root(trie.root(), rows.clone());
    let mut new = Trie::from_root(trie.root(), rows);
    new.insert(pairs.keys().next().unwrap(), vec![8; 40].into()).unwrap();
    new.root();
    let changes = diff(&old, &new).unwrap();
    assert_eq!(
        (old.nodes_in_memory(), new.nodes_in_memory()),
        (changes.len(), changes.len())
    );
}

#[test]
fn a_root_below_32_bytes_is_stored() {
    let rows = Arc::new(Rows::default());
    let mut trie = Trie::empty(rows.clone());
    trie.insert(b"a", Bytes::from_static(b"1")).unwrap();
    let root = trie.root();
    rows.apply(&diff(&Trie::empty(Arc::new(NoNodes)), &trie).unwrap());
    let mut reloaded = Trie::from_root(root, rows);
    assert_eq!(reloaded.get(b"a").unwrap(), Some(Bytes::from_static(b"1")));
    reloaded.insert(b"b", Bytes::from_static(b"2")).unwrap();
    assert_eq!(
        reloaded.root(),
        root_of([(&b"b"[..], &b"2"[..]), (b"a", b"1")]).unwrap()
    );
}
