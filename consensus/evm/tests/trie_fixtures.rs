//! The TrieTests of ethereum/tests: roots of known keys and values, plain and hashed, with removals on the way.
//!
//! Runs where `OPENLEDGER_FIXTURES` names the folder that holds `ethereum-tests/TrieTests`; says so where it does not.
//! `trietestnextprev.json` asks for neighbours of a key, which this trie does not offer.
#![allow(clippy::print_stdout, reason = "a test that did not run has to say so")]
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use alloy_primitives::{B256, hex};
use evm::trie::{root_of, secure_root_of};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    #[serde(rename = "in")]
    steps: Steps,
    root: B256,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Steps {
    InOrder(Vec<(String, Option<String>)>),
    AnyOrder(BTreeMap<String, Option<String>>),
}

#[test]
fn roots_of_the_trie_fixtures() {
    let Some(root) = std::env::var_os("OPENLEDGER_FIXTURES") else {
        println!("NOT RUN: set OPENLEDGER_FIXTURES to the folder that holds ethereum-tests/TrieTests");
        return;
    };
    let folder = PathBuf::from(root).join("ethereum-tests/TrieTests");
    let mut checked = 0;
    for (file, secure) in [
        ("trietest.json", false),
        ("trieanyorder.json", false),
        ("trietest_secureTrie.json", true),
        ("trieanyorder_secureTrie.json", true),
        ("hex_encoded_securetrie_test.json", true),
    ] {
        checked += check(&folder.join(file), secure);
    }
    println!("{checked} roots agree with {}", folder.display());
    assert!(checked >= 20, "only {checked} cases: the fixtures are not whole");
}

fn check(file: &Path, secure: bool) -> usize {
    let cases: BTreeMap<String, Case> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    for (name, case) in &cases {
        let forwards = steps(&case.steps);
        let mut orders = vec![forwards.clone()];
        if let Steps::AnyOrder(_) = case.steps {
            orders.push(forwards.into_iter().rev().collect());
        }
        for pairs in orders {
            let pairs = pairs.iter().map(|(key, value)| (&key[..], &value[..]));
            let root = if secure { secure_root_of(pairs) } else { root_of(pairs) };
            assert_eq!(root.unwrap(), case.root, "{name} of {}", file.display());
        }
    }
    cases.len()
}

/// The empty value stands for removal.
fn steps(steps: &Steps) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |(key, value): (&String, &Option<String>)| (bytes(key), value.as_deref().map_or(Vec::new(), bytes));
    match steps {
        Steps::InOrder(list) => list.iter().map(|(key, value)| pair((key, value))).collect(),
        Steps::AnyOrder(map) => map.iter().map(pair).collect(),
    }
}

fn bytes(text: &str) -> Vec<u8> {
    match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits).unwrap(),
        None => text.as_bytes().to_vec(),
    }
}
