//! Copies that others keep, between processes: made, audited, lost, made again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{path::Path, time::Duration};

use serde_json::Value;
use tests::{
    cluster::Cluster,
    commands::{command, corpus, done, until},
};

use super::PROGRAM;

const SOON: Duration = Duration::from_secs(60);

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The nodes that hold a copy, as the owner knows it.
fn holding(status: &Value) -> Vec<String> {
    let hosts = status["deals"][0]["hosts"].as_array().cloned().unwrap_or_default();
    let holds = hosts.iter().filter(|host| host["holds"] == true);
    holds.map(|host| text(&host["node"]).to_owned()).collect()
}

fn audited(status: &Value) -> bool {
    let hosts = status["deals"][0]["hosts"].as_array().cloned().unwrap_or_default();
    let held = hosts
        .iter()
        .filter(|host| host["holds"] == true && host["held"].as_u64() > Some(0));
    held.count() == 2
}

/// Flips a byte in the middle of every file of the store that holds a whole shard.
fn spoil(home: &Path) {
    let mut spoilt = 0;
    for entry in std::fs::read_dir(home.join("data/blobs/data")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|end| end == "data") {
            use std::os::unix::fs::FileExt as _;
            let file = std::fs::File::options()
                .read(true)
                .write(true)
                .open(entry.path())
                .unwrap();
            let len = file.metadata().unwrap().len();
            for at in (0..len).step_by(1024) {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
            }
            spoilt += 1;
        }
    }
    assert!(spoilt > 0, "nothing was there to spoil");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_are_held_audited_and_repaired_when_a_host_dies_and_the_owner_forgets_nothing() {
    let environment = [("OPENLEDGER_DATA__AUDIT_BLOCKS", "3")];
    let mut cluster = Cluster::new(PROGRAM.into(), "pins", 4, 24_750, &environment).unwrap();
    cluster.start_all().unwrap();
    for node in 0..4 {
        cluster.wait_for(node, 2, SOON).await.unwrap();
    }
    let homes: Vec<_> = cluster.members.iter().map(|member| member.home.clone()).collect();
    let ids: Vec<_> = homes
        .iter()
        .map(|home| text(&done(home, &["id"]).unwrap()["node_id"]).to_owned())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("corpus.jsonl");
    std::fs::write(&file, corpus(3 << 20, "pinned")).unwrap();
    let added = done(
        &homes[0],
        &["data", "add", file.to_str().unwrap(), "--licence", "CC-BY-4.0"],
    )
    .unwrap();
    let root = text(&added["root"]).to_owned();

    // Two hosts hold it and prove it.
    done(
        &homes[0],
        &[
            "pin", "add", &root, "--copies", "2", "--days", "1", "--host", &ids[1], "--host", &ids[2],
        ],
    )
    .unwrap();
    let status = until(&homes[0], &["pin", "status", &root], audited).unwrap();
    assert_eq!(status["deals"][0]["held"], 2);
    let checked = done(&homes[0], &["pin", "verify", &root]).unwrap();
    assert_eq!(
        checked["checked"].as_array().unwrap().len(),
        3,
        "two hosts and the owner itself: {checked}"
    );

    // It goes on for longer, and the hosts are told.
    let ends = |status: &Value| status["deals"][0]["until_ms"].as_u64().unwrap();
    let renewed = done(&homes[0], &["pin", "renew", &root, "--days", "2"]).unwrap();
    assert_eq!(ends(&renewed) - ends(&status), 2 * 24 * 60 * 60 * 1000);
    for host in [1, 2] {
        until(&homes[host], &["pin", "ls"], |all| {
            all["hosted"][0]["until_ms"].as_u64() == Some(ends(&renewed))
        })
        .unwrap();
    }
    let (code, said) = command(&homes[1], &["pin", "renew", &root]).unwrap();
    assert_eq!(code, Some(4), "it has no deal of its own: {said}");

    // The owner is killed: its deal and its verdicts are there.
    cluster.kill(0);
    cluster.start(0).unwrap();
    let status = until(&homes[0], &["pin", "status", &root], |status| {
        status["deals"][0]["held"] == 2
    })
    .unwrap();
    assert_eq!(ends(&status), ends(&renewed), "what was renewed is remembered");
    let before = holding(&status);

    // A host is killed: it is dropped, and a third holds the copy.
    let dead = ids.iter().position(|id| *id == before[0]).unwrap();
    cluster.kill(dead);
    let status = until(&homes[0], &["pin", "status", &root], |status| {
        let now = holding(status);
        now.len() == 2 && !now.contains(&before[0])
    })
    .unwrap();
    let new = holding(&status)
        .into_iter()
        .find(|node| !before.contains(node))
        .unwrap();

    // A copy that rots is found, by its keeper and by anybody.
    cluster.start(dead).unwrap();
    let rotten = ids.iter().position(|id| *id == new).unwrap();
    done(&homes[0], &["pin", "rm", &root]).unwrap();
    until(&homes[rotten], &["pin", "ls"], |all| {
        all["hosted"].as_array().is_some_and(Vec::is_empty)
    })
    .unwrap();
    done(&homes[rotten], &["pin", "add", &root]).unwrap();
    done(&homes[0], &["pin", "verify", &root, "--node", &new]).unwrap();
    spoil(&homes[rotten]);
    let (code, said) = command(&homes[rotten], &["pin", "verify", &root]).unwrap();
    assert_eq!(code, Some(7), "{said}");
    let (code, said) = command(&homes[0], &["pin", "verify", &root, "--node", &new]).unwrap();
    assert_eq!(code, Some(7), "{said}");
}
