//! A permissioned datanet between processes: members read it, nobody else does, and a former member no more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tests::{
    cluster::Cluster,
    commands::{command, corpus, done, until},
};

use super::PROGRAM;

const SOON: Duration = Duration::from_secs(60);
const MARK: &str = "only-members-read-this";

/// Whether any file under `dir` holds `mark`.
fn holds(dir: &Path, mark: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = holds(&path, mark) {
                return Some(found);
            }
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(mark.len()).any(|window| window == mark.as_bytes())
        {
            return Some(path);
        }
    }
    None
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn members_read_strangers_and_former_members_do_not_and_nothing_lies_open() {
    let mut cluster = Cluster::new(PROGRAM.into(), "datanets", 4, 24_700, &[]).unwrap();
    cluster.start_all().unwrap();
    for node in 0..4 {
        cluster.wait_for(node, 2, SOON).await.unwrap();
    }
    let homes: Vec<_> = cluster.members.iter().map(|member| member.home.clone()).collect();
    let [owner, member, former, stranger] = &homes[..] else {
        unreachable!("four nodes")
    };
    let id = |home: &Path| text(&done(home, &["id"]).unwrap()["node_id"]).to_owned();
    let (own, theirs, past) = (id(owner), id(member), id(former));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("corpus.jsonl");
    std::fs::write(&file, corpus(3 << 20, MARK)).unwrap();
    let path = file.to_str().unwrap();

    let founded = done(
        owner,
        &["datanet", "create", "maths", "--licence", "CC-BY-4.0", "--permissioned"],
    )
    .unwrap();
    let net = text(&founded["id"]).to_owned();
    let added = done(
        owner,
        &["data", "add", path, "--licence", "CC-BY-4.0", "--datanet", &net],
    )
    .unwrap();
    let root = text(&added["root"]).to_owned();
    for node in [&theirs, &past] {
        done(
            owner,
            &["datanet", "grant", &net, node, "--role", "reader", "--days", "1"],
        )
        .unwrap();
    }
    done(owner, &["datanet", "publish", &net, &root]).unwrap();
    let key = owner
        .join("keys/datanets")
        .join(format!("{}.key", net.trim_start_matches("0x")));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "the owner's secret is the owner's");

    // Members get it, whole; at rest it is sealed, here and there.
    for home in [member, former] {
        done(home, &["datanet", "join", &net, "--from", &own]).unwrap();
        let out = dir.path().join(home.file_name().unwrap());
        done(
            home,
            &["data", "get", &root, "--datanet", &net, "--out", out.to_str().unwrap()],
        )
        .unwrap();
        assert_eq!(
            std::fs::read(out.join("corpus.jsonl")).unwrap(),
            std::fs::read(&file).unwrap()
        );
        done(home, &["data", "verify", &root]).unwrap();
    }
    for home in [owner, member] {
        assert_eq!(holds(&home.join("data"), MARK), None, "readable at rest");
    }

    // To a stranger it does not exist, on no way in.
    for arguments in [
        &["datanet", "join", &net, "--from", &own][..],
        &["data", "get", &root, "--from", &own],
        &["pin", "verify", &root, "--node", &own],
    ] {
        let (code, said) = command(stranger, arguments).unwrap();
        assert_ne!(code, Some(0), "{arguments:?}: {said}");
    }
    assert_eq!(
        holds(&stranger.join("data"), "OLS\u{1}"),
        None,
        "a stranger was given a sealed shard"
    );

    // Whoever is taken out is given nothing of what comes after, and the others have the new key.
    done(owner, &["datanet", "revoke", &net, &past]).unwrap();
    std::fs::write(&file, corpus(2 << 20, "the-second-part")).unwrap();
    let second = done(
        owner,
        &["data", "add", path, "--licence", "CC-BY-4.0", "--datanet", &net],
    )
    .unwrap();
    let second = text(&second["root"]).to_owned();
    done(owner, &["datanet", "publish", &net, &second]).unwrap();
    until(member, &["datanet", "show", &net], |shown| {
        let published = shown["published"].as_array().map_or(0, Vec::len);
        shown["epoch"] == 1 && shown["has_key"] == true && published == 2
    })
    .unwrap();
    done(member, &["data", "get", &second, "--datanet", &net]).unwrap();
    done(member, &["data", "verify", &second]).unwrap();
    for from in [&own, &theirs] {
        let (code, said) = command(former, &["data", "get", &second, "--datanet", &net, "--from", from]).unwrap();
        assert_ne!(code, Some(0), "a former member was served by {from}: {said}");
    }

    // What was founded, said and given survives a kill.
    cluster.kill(0);
    cluster.start(0).unwrap();
    let shown = until(owner, &["datanet", "show", &net], |shown| shown["epoch"] == 1).unwrap();
    assert_eq!(shown["version"]["number"], 2);
    done(owner, &["data", "verify", &second]).unwrap();
}
