//! A fetching process is killed at random moments and restarted; little is fetched twice.
//!
//! `OPENLEDGER_KILLS` sets the number of kills, `OPENLEDGER_KILL_MIB` the size, `OPENLEDGER_KILL_SEED` the moments, and
//! `OPENLEDGER_KILL_MIB_PER_S` the provider's upload limit, 0 for none. A process counts as fetched what it had verified,
//! which it keeps writing to a file.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    num::NonZeroU64,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use iroh_blobs::store::fs::{FsStore, options::Options};
use net::data::{DataConfig, DataPlane, Wanted};
use protocol::{BlobHash, NodeId};

use crate::common::{Node, bytes};

const PLACE: &str = "OPENLEDGER_KILL_PLACE";
const FROM: &str = "OPENLEDGER_KILL_FROM";
const COUNT: &str = "count";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "the test of this file starts it"]
fn child() {
    let (Some(place), Ok(from)) = (std::env::var_os(PLACE), std::env::var(FROM)) else {
        return;
    };
    let words: Vec<_> = from.split(' ').collect();
    let (node, address): (NodeId, SocketAddr) = (words[0].parse().unwrap(), words[1].parse().unwrap());
    let blob: BlobHash = words[2].parse().unwrap();
    let place = Path::new(&place);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut options = Options::new(place);
        options.batch.max_write_duration = Duration::from_millis(50); // As the node's own store has it.
        let store = FsStore::load_with_opts(place.join("blobs.db"), options)
            .await
            .expect("opens");
        let mut seed = [1; 32];
        seed[..4].copy_from_slice(&std::process::id().to_le_bytes());
        let plane = DataPlane::start(DataConfig::new(seed)).await.expect("starts");
        plane.addresses().insert(node, address);
        let count = std::fs::File::create(place.join(COUNT)).expect("a file");
        let (counted, note) = (plane.clone(), count.try_clone().expect("a file"));
        std::thread::spawn(move || {
            loop {
                write(&note, counted.metrics().bytes_fetched);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut wanted = Wanted::blob(blob, vec![node]);
        wanted.bytes_max = u64::MAX;
        plane.fetch(&store, wanted).done().await.expect("fetched");
        write(&count, plane.metrics().bytes_fetched);
        say("done");
    });
}

fn write(count: &std::fs::File, bytes: u64) {
    count.write_all_at(&bytes.to_le_bytes(), 0).expect("written");
}

#[expect(
    clippy::print_stdout,
    reason = "the parent listens, and a campaign shows its figures"
)]
fn say(line: &str) {
    println!("\n@ {line}");
}

fn start(place: &Path, from: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "killed::child", "--ignored", "--nocapture"])
        .env(PLACE, place)
        .env(FROM, from)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// Waits for the end. Returns true if the fetch was done, and the bytes that this process verified.
fn hear(mut child: Child, place: &Path) -> (bool, u64) {
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let is_done = out.lines().any(|line| line.is_ok_and(|line| line == "@ done"));
    // A process that has reported may still be closing.
    let _ = (child.kill(), child.wait());
    let count = std::fs::read(place.join(COUNT)).unwrap_or_default();
    let count = count.try_into().map_or(0, u64::from_le_bytes);
    // Counted once.
    let _ = std::fs::remove_file(place.join(COUNT));
    (is_done, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_is_fetched_again_after_a_kill_at_any_moment() {
    let (kills, size) = (number("OPENLEDGER_KILLS", 3), number("OPENLEDGER_KILL_MIB", 32) << 20);
    let seed = number("OPENLEDGER_KILL_SEED", 1);
    let mut config = DataConfig::new([1; 32]);
    config.upload_per_s = NonZeroU64::new(number("OPENLEDGER_KILL_MIB_PER_S", 32) << 20);
    let one = Node::start(config).await;
    let blob = one.add(bytes(usize::try_from(size).expect("it fits"), 1)).await;
    let from = format!("{} {} {blob}", one.id(), one.address());
    let rounds = tokio::task::spawn_blocking(move || {
        let fresh = || tempfile::tempdir().expect("a place for files");
        let (place, began) = (fresh(), Instant::now());
        // The last chunk is fetched again, as the proof of the size.
        assert_eq!(hear(start(place.path(), &from), place.path()), (true, size + 1024));
        let whole = began.elapsed();
        let mut dice = seed;
        let mut again = Vec::new();
        for _ in 0..kills {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let after = whole * u32::try_from(dice >> 40).expect("24 bits") / (1 << 24);
            let place = fresh();
            let mut child = start(place.path(), &from);
            std::thread::sleep(after);
            child.kill().expect("it was started");
            let (_, first) = hear(child, place.path());
            let (is_done, second) = hear(start(place.path(), &from), place.path());
            assert!(
                is_done,
                "killed after {after:?} it does not go on; OPENLEDGER_KILL_SEED={seed}"
            );
            again.push((first + second).saturating_sub(size));
        }
        again
    });
    let again = rounds.await.expect("it runs");
    let (all, worst) = (again.iter().sum::<u64>(), again.iter().max().copied().unwrap_or(0));
    let permille = all * 1000 / (size * kills).max(1);
    say(&format!(
        "{kills} kills, {} MiB, seed {seed}: {permille} ‰ fetched again, at worst {} ‰",
        size >> 20,
        worst * 1000 / size
    ));
    assert!(
        permille <= 50,
        "{permille} ‰ fetched again: {again:?}; OPENLEDGER_KILL_SEED={seed}"
    );
}
