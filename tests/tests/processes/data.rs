//! Datasets between processes, by the commands that people use.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use net::ChainTag;
use protocol::{BlobHash, BlockHash, Time, crypto::SecretKey};
use serde_json::Value;
use storage::HomeLock;
use tests::{
    cluster::Cluster,
    commands::{command as run, corpus, done, until as repeat},
    liar::Liar,
};

use super::PROGRAM;

const SOON: Duration = Duration::from_secs(60);

fn command(home: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    run(home, arguments).unwrap()
}

fn ok(home: &Path, arguments: &[&str]) -> Value {
    done(home, arguments).unwrap()
}

fn until(home: &Path, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
    repeat(home, arguments, wanted).unwrap()
}

fn now() -> Time {
    Time(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
}

/// The seed of a node whose name comes before all others': among equals, tasks are given out in the order of names, so it
/// is asked for certain.
fn early() -> u8 {
    let name = |seed: &u8| SecretKey::from_seed([*seed; 32]).public();
    (0..=u8::MAX).min_by_key(name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_outlives_its_first_node_and_a_liar_costs_nothing_but_its_own_place() {
    // Slow enough that whoever says that it has something is asked for a part of it.
    let environment = [("OPENLEDGER_DATA__UPLOAD_PER_S", "4 MiB")];
    let mut cluster = Cluster::new(PROGRAM.into(), "data", 4, 24_600, &environment).unwrap();
    cluster.start_all().unwrap();
    for node in 0..4 {
        cluster.wait_for(node, 2, SOON).await.unwrap();
    }
    let home = |node: usize| cluster.members[node].home.clone();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("corpus.jsonl");
    std::fs::write(&file, corpus(12 << 20, "shared")).unwrap();

    // One adds it, two pin it, the first is killed.
    let path = file.to_str().unwrap();
    let added = ok(
        &home(0),
        &["data", "add", path, "--licence", "CC-BY-4.0", "--shard-size", "2 MiB"],
    );
    let root = added["root"].as_str().unwrap().to_owned();
    for node in [1, 2] {
        until(&home(node), &["data", "providers", &root], |said| {
            said["providers"].as_array().is_some_and(|nodes| !nodes.is_empty())
        });
        let pinned = ok(&home(node), &["pin", "add", &root]);
        assert!(!pinned["kept_for"].as_array().unwrap().is_empty(), "{pinned}");
        // Clearing the store takes nothing that is pinned.
        ok(&home(node), &["repo", "gc"]);
        ok(&home(node), &["pin", "verify", &root]);
    }
    let (homes, last) = ([home(0), home(1), home(2)], home(3));
    let first = ok(&homes[0], &["id"])["node_id"].as_str().unwrap().to_owned();
    cluster.kill(0);

    // A liar says that it has it too.
    let status = ok(&last, &["status"]);
    let chain = ChainTag {
        chain_id: status["chain_id"].as_u64().unwrap(),
        genesis: status["genesis"].as_str().unwrap().parse::<BlockHash>().unwrap().0,
    };
    let listen = ok(&last, &["peers", "list"])["listen"][0].as_str().unwrap().to_owned();
    let liar = Liar::start(early(), chain, &listen).await.unwrap();
    liar.announce(root.parse::<BlobHash>().unwrap(), now());
    let name = liar.id().to_string();
    until(&last, &["data", "providers", &root], |said| {
        let nodes = said["providers"].as_array();
        nodes.is_some_and(|nodes| nodes.len() >= 3 && nodes.iter().any(|node| node.as_str() == Some(&name)))
    });

    // The fourth gets it from the two, and says who lied.
    let out = dir.path().join("out");
    let got = ok(&last, &["data", "get", &root, "--out", out.to_str().unwrap()]);
    assert_eq!(
        std::fs::read(out.join("corpus.jsonl")).unwrap(),
        std::fs::read(&file).unwrap()
    );
    let gave = |given: &&Value| given[1].as_u64().unwrap() > 0;
    let given = got["providers"].as_array().unwrap().iter();
    let from: Vec<_> = given.filter(gave).map(|given| given[0].as_str().unwrap()).collect();
    assert!(!from.contains(&first.as_str()), "the first is dead: {got}");
    for node in [1, 2] {
        let id = ok(&homes[node], &["id"])["node_id"].as_str().unwrap().to_owned();
        assert!(from.contains(&id.as_str()), "{id} gave nothing: {got}");
    }
    assert_eq!(got["blamed"], serde_json::json!([name]), "{got}");
    ok(&last, &["data", "verify", &root]);
    liar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_and_what_is_damaged_ends_with_a_code_and_a_way_out() {
    let mut cluster = Cluster::new(PROGRAM.into(), "data-bad", 1, 24_650, &[]).unwrap();
    let home = cluster.members[0].home.clone();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broken.jsonl");
    let mut text = corpus(100 << 10, "broken");
    text += "{\"id\": \n";
    std::fs::write(&file, &text).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_for(0, 1, SOON).await.unwrap();
    let path = file.to_str().unwrap();

    let (code, said) = command(&home, &["data", "add", path, "--licence", "CC-BY-4.0"]);
    let message = said["error"].to_string();
    let line = text.lines().count();
    assert!(
        code == Some(1) && message.contains("broken.jsonl") && message.contains(&line.to_string()),
        "{said}"
    );
    let (code, said) = command(&home, &["data", "add", path, "--licence", "CC-BY-40"]);
    assert!(
        code == Some(2) && said["error"]["message"].as_str().unwrap().contains("licence"),
        "{said}"
    );

    std::fs::write(&file, corpus(200 << 10, "whole")).unwrap();
    let added = ok(
        &home,
        &["data", "add", path, "--licence", "CC-BY-4.0", "--by-reference"],
    );
    let root = added["root"].as_str().unwrap();
    ok(&home, &["data", "verify", root]);
    // The file is changed under its reference: it is said, and by whose doing.
    let mut changed = std::fs::read(&file).unwrap();
    changed[100] ^= 1;
    std::fs::write(&file, changed).unwrap();
    let (code, said) = command(&home, &["data", "verify", root]);
    assert!(
        code == Some(7) && said["error"].to_string().contains("broken.jsonl"),
        "{said}"
    );

    let nowhere = BlobHash([7; 32]).to_string();
    let (code, said) = command(&home, &["data", "get", &nowhere]);
    assert!(
        code == Some(4) && said["error"]["message"].as_str().unwrap().contains("peers add"),
        "{said}"
    );
    let (code, _) = command(&home, &["data", "show", &nowhere]);
    assert_eq!(code, Some(4));
    assert!(cluster.terminate(0).unwrap(), "it stops in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_and_a_command_at_that_moment_wait_for_who_has_the_stores() {
    let mut cluster = Cluster::new(PROGRAM.into(), "data-lock", 1, 24_680, &[]).unwrap();
    let home = cluster.members[0].home.clone();
    ok(&home, &["data", "ls"]);

    // Another command has them, and both come while it does.
    let lock = HomeLock::acquire(&home.join("data/blobs")).unwrap();
    cluster.start_all().unwrap();
    let looking = tokio::task::spawn_blocking(move || ok(&home, &["data", "ls"]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!looking.is_finished(), "nobody has answered");
    drop(lock);
    looking.await.unwrap();
    cluster.wait_for(0, 1, SOON).await.unwrap();
    assert!(cluster.terminate(0).unwrap(), "it stops in order");
}
