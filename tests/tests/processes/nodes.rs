//! The program itself, as processes: what survives a kill, what a person is told when something is wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tests::{cluster::Cluster, progress::say};

use super::PROGRAM;

const SOON: Duration = Duration::from_secs(30);

fn openledger(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    say(format_args!("openledger {}", arguments.join(" ")));
    Command::new(PROGRAM)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the program runs")
}

/// Runs a node that should not come up, and gives what it says and how it ended.
fn refusal(home: &Path, environment: &[(&str, &str)]) -> (String, Option<i32>) {
    let mut node = Command::new(PROGRAM)
        .args(["daemon", "--home", home.to_str().unwrap()])
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let until = Instant::now() + SOON;
    while node.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            node.kill().unwrap();
            panic!("a node that cannot run is running");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = node.wait_with_output().unwrap();
    (
        String::from_utf8_lossy(&output.stderr).into_owned(),
        output.status.code(),
    )
}

/// It ends with 1 and says all of this.
fn refuses(home: &Path, environment: &[(&str, &str)], what: &str, says: &[&str]) {
    let (words, code) = refusal(home, environment);
    assert_eq!(code, Some(1), "{what}: {words}");
    assert!(says.iter().all(|part| words.contains(part)), "{what}: {words}");
}

async fn cluster(name: &str, port: u16) -> Cluster {
    let mut cluster = Cluster::new(PROGRAM.into(), name, 4, port, &[]).unwrap();
    cluster.start_all().unwrap();
    for node in 0..4 {
        cluster.wait_for(node, 2, SOON).await.unwrap();
    }
    cluster
}

/// Everyone is at the same block at some height above `above`.
async fn agree(cluster: &Cluster, above: u64) {
    let mut blocks = Vec::new();
    for node in 0..4 {
        cluster.wait_for(node, above + 1, SOON).await.unwrap();
        blocks.push(cluster.block(node, above + 1).await.unwrap());
    }
    assert!(blocks.iter().all(|block| *block == blocks[0]), "{blocks:?}");
}

#[test]
fn a_development_network_comes_up_is_tried_out_and_ends() {
    let output = openledger(&["devnet", "--once", "--json", "--base-port", "24000"], &[]);
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{words}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<serde_json::Value> = words.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["nodes"].as_array().unwrap().len(), 4);
    let agreed = lines
        .iter()
        .find(|line| line["event"] == "agreed")
        .expect("it says that the nodes agree");
    assert!(agreed["state_root"].as_str().unwrap().starts_with("0x"));
}

#[tokio::test]
async fn killed_nodes_come_back_with_everything_and_without_their_state_database() {
    let mut cluster = cluster("killed", 24_100).await;
    // One, robbed of its cache: it must come to the same blocks from its log.
    cluster.kill(2);
    cluster.remove_state(2).unwrap();
    let tip = cluster.height(0).await.unwrap();
    cluster.start(2).unwrap();
    cluster.wait_for(2, tip, SOON).await.unwrap();
    agree(&cluster, tip).await;
    // All at once.
    let tip = cluster.height(0).await.unwrap();
    (0..4).for_each(|node| cluster.kill(node));
    cluster.start_all().unwrap();
    agree(&cluster, tip).await;
    // A polite end is a clean one.
    assert!(cluster.terminate(1).unwrap());
    (0..4).for_each(|node| cluster.kill(node));
    (0..4).for_each(|node| cluster.check_no_double_sign(node).unwrap());
}

#[tokio::test]
async fn damage_is_named_refused_and_repaired() {
    let mut cluster = cluster("damage", 24_200).await;
    cluster.wait_for(0, 4, SOON).await.unwrap();
    cluster.kill(0);
    let home = cluster.members[0].home.clone();
    // In the middle of the first block: the first kilobyte of the file is its header.
    flip(&home.join("chain/blocks/blocks-0000.log"), 1200);

    let (words, code) = refusal(&home, &[]);
    assert_eq!(code, Some(7), "{words}");
    assert!(
        words.contains("blocks-0000.log") && words.contains("openledger chain repair"),
        "{words}"
    );
    let repaired = openledger(&["chain", "repair", "--home", home.to_str().unwrap()], &[]);
    assert!(
        repaired.status.success(),
        "{}",
        String::from_utf8_lossy(&repaired.stderr)
    );
    let tip = cluster.height(1).await.unwrap();
    cluster.start(0).unwrap();
    cluster.wait_for(0, tip, SOON).await.unwrap();
    agree(&cluster, tip).await;
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[offset] ^= 0x40;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_person_is_told_what_is_wrong_in_one_sentence() {
    let mut cluster = cluster("told", 24_300).await;
    let home = cluster.members[0].home.clone();

    refuses(&home, &[], "a home that is in use", &["is in use by process"]);

    cluster.kill(0);
    let taken = cluster.members[1].rpc.trim_start_matches("http://").to_owned();
    refuses(
        &home,
        &[("OPENLEDGER_RPC__LISTEN", &taken)],
        "a busy port",
        &["rpc.listen", "in use"],
    );

    refuses(
        &home,
        &[("OPENLEDGER_STORAGE__MIN_FREE_SPACE", "900 TiB")],
        "a full disk",
        &["storage.min_free_space"],
    );

    refuses(
        &home,
        &[("OPENLEDGER_RPC__LISTN", "127.0.0.1:1")],
        "a misspelt key",
        &["rpc.listen"],
    );

    // The genesis of another network over the data of this one.
    let genesis = std::fs::read_to_string(home.join("genesis.json")).unwrap();
    std::fs::write(
        home.join("genesis.json"),
        genesis.replacen("\"gasLimit\": \"0x", "\"gasLimit\": \"0x1", 1),
    )
    .unwrap();
    refuses(
        &home,
        &[],
        "a foreign data directory",
        &["belongs to the chain with genesis"],
    );
    std::fs::write(home.join("genesis.json"), "{}").unwrap();
    refuses(&home, &[], "a genesis that is none", &["genesis.json"]);
}

#[tokio::test]
async fn a_node_of_another_chain_is_not_listened_to() {
    let ours = cluster("ours", 24_400).await;
    let mut theirs = Cluster::new(
        PROGRAM.into(),
        "theirs",
        1,
        24_500,
        &[("OPENLEDGER_NETWORK__BOOTSTRAP", "/ip4/127.0.0.1/tcp/24401")],
    )
    .unwrap();
    theirs.start(0).unwrap();
    theirs.wait_for(0, 2, SOON).await.unwrap();
    let peers = theirs.call(0, "net_peerCount", json!([])).await.unwrap();
    assert_eq!(peers, json!("0x0"), "a peer on another chain is no peer");
    let log = std::fs::read_to_string(&theirs.members[0].log).unwrap();
    assert!(log.contains("another chain"), "and its operator is told once: {log}");
    let ours_now = ours.height(0).await.unwrap();
    ours.wait_for(0, ours_now + 1, SOON).await.unwrap();
}
