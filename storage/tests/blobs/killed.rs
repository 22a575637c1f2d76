//! A process that adds and collects is killed at random moments; what it acknowledged is stored.
//!
//! `BLOBS_KILLS` sets the number of kills, `BLOBS_SEED` the moments.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use storage::blob::{Content, Format, Reason, Repair};

use super::{FILLING, content, mix, name, number, open, pick};

const PLACE: &str = "BLOBS_CHILD_PLACE";
/// Environment variable: the child fills the disk and never unpins.
const FILL: &str = "BLOBS_CHILD_FILLS";
const IDS: usize = 24;

/// Not a test: the process that is killed.
#[test]
#[ignore = "the other tests of this file start it"]
fn child() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let mut rng = number("BLOBS_SEED", 1);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = open(Path::new(&place)).await;
        say("open", 0);
        if std::env::var_os(FILL).is_some() {
            for id in FILLING.. {
                let adding = store.add_bytes(content(id), Format::Blob, Reason::User);
                say(if adding.await.is_ok() { "added" } else { "refused" }, id);
            }
        }
        loop {
            let id = pick(&mut rng, IDS);
            match mix(&mut rng) % 4 {
                0 | 1 => {
                    let adding = store.add_bytes(content(id), Format::Blob, Reason::User);
                    adding.await.expect("there is room");
                    say("added", id);
                }
                2 => {
                    // Printed first: after an unpin request, nothing is promised any more.
                    say("unpin", id);
                    let _ = store.unpin(name(&content(id)), Reason::User).await;
                }
                _ => {
                    let other = (id + 5) % IDS;
                    let adding = store.add_bytes(content(other), Format::Blob, Reason::User);
                    let (added, _) = tokio::join!(adding, store.collect());
                    added.expect("there is room");
                    say("added", other);
                }
            }
        }
    });
}

#[expect(clippy::print_stdout, reason = "the parent listens")]
fn say(what: &str, id: usize) {
    println!("\n@ {what} {id}");
}

fn start(command: &mut Command, place: &Path, seed: u64) -> Child {
    command
        .args(["--exact", "killed::child", "--ignored", "--nocapture"])
        .env(PLACE, place)
        .env("BLOBS_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// Reads a child's output until `lines` lines, kills it, and reads the rest: output in the pipe counts.
fn listen(mut child: Child, lines: u64, promised: &mut BTreeMap<usize, bool>) -> BTreeMap<String, u64> {
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let (mut heard, mut said) = (0, BTreeMap::new());
    for line in out.lines() {
        let line = line.expect("text");
        let Some((what, id)) = line.strip_prefix("@ ").and_then(|said| said.split_once(' ')) else {
            continue;
        };
        let id = id.parse().expect("a number");
        match what {
            "added" => {
                promised.insert(id, true);
            }
            "unpin" => {
                promised.insert(id, false);
            }
            _ => (),
        }
        *said.entry(what.to_owned()).or_default() += 1;
        heard += 1;
        if heard == lines {
            child.kill().expect("alive");
        }
    }
    child.wait().expect("ended");
    said
}

async fn look(place: &Path, promised: &BTreeMap<usize, bool>, replay: &str) {
    let store = open(place).await;
    store.collect().await.expect("collected");
    for (&id, _) in promised.iter().filter(|(_, promised)| **promised) {
        let bytes = content(id);
        let read = store.read(name(&bytes), 0..bytes.len() as u64).await;
        assert_eq!(
            read.as_ref().ok(),
            Some(&bytes),
            "blob {id} was acknowledged and is lost: {read:?}; {replay}"
        );
        assert!(store.reasons(name(&bytes)).is_some(), "{replay}");
        store.settle(Content::blob(name(&bytes))).await.expect("whole");
    }
    let checked = store.fsck(Repair::Orphans, |_, _| ()).await.expect("checked");
    assert!(checked.damaged.is_empty(), "{:?}; {replay}", checked.damaged);
    store.shutdown().await;
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_stored() {
    let (seed, kills) = (number("BLOBS_SEED", 1), number("BLOBS_KILLS", 12));
    let (place, mut rng) = (tempfile::tempdir().unwrap(), seed);
    let mut promised = BTreeMap::new();
    for kill in 0..kills {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let child = start(&mut command, place.path(), mix(&mut rng));
        listen(child, 1 + mix(&mut rng) % 40, &mut promised);
        look(place.path(), &promised, &format!("kill {kill} of BLOBS_SEED={seed}")).await;
    }
    assert!(
        promised.values().any(|promised| *promised),
        "nothing was ever acknowledged"
    );
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let mut promised = BTreeMap::new();
    // No file may grow beyond this, which the database soon attempts. The signal is ignored, so that the write fails
    // as on a full disk.
    let mut shell = Command::new("bash");
    let test = std::env::current_exe().expect("a test");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 1400; exec \"$0\" \"$@\""])
        .arg(test);
    shell.env(FILL, "yes");
    let said = listen(start(&mut shell, place.path(), 3), 200, &mut promised);
    assert!(said.contains_key("added") && said.contains_key("refused"), "{said:?}");
    look(place.path(), &promised, "full disk").await;
}
