//! Throughput of the blob store, compared with one thread of BLAKE3 over the same file in the same run.
//!
//! `BLOBS_MIB` sets the file size (256 by default). The store lies beside the target folder, so that it is on a disk and not
//! in memory; copies are synced before they are acknowledged, so they measure that disk.

#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    reason = "a bench shows figures"
)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use storage::blob::{Add, BlobStore, Format, Mode, Reason, Settings, SpaceLimits};

const ROUNDS: usize = 5;
const READS: u64 = 200;

#[tokio::main]
async fn main() {
    let mib: usize = std::env::var("BLOBS_MIB")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(256);
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a place for files");
    let file = place.path().join("file");
    std::fs::write(&file, noise(mib << 20)).expect("room for the file");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{mib} MiB, {cores} cores, store on {}", place.path().display());

    let mut rows: Vec<(&str, Vec<f64>)> = Vec::new();
    let mut note = |name: &'static str, took: Duration| {
        let rate = mib as f64 / took.as_secs_f64();
        match rows.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rates)) => rates.push(rate),
            None => rows.push((name, vec![rate])),
        }
    };
    for round in 0..ROUNDS {
        let began = Instant::now();
        let mut hasher = blake3::Hasher::new();
        hasher
            .update_reader(std::fs::File::open(&file).expect("there"))
            .expect("read");
        let hash = hasher.finalize();
        note("blake3, one thread, same file", began.elapsed());
        for (name, mode) in [("import by reference", Mode::Reference), ("import by copy", Mode::Copy)] {
            let dir = place.path().join(format!("{round}-{mode:?}"));
            let store = open(&dir).await;
            let began = Instant::now();
            let added = store.add_path(&file, how(mode), |_| ()).await.expect("added");
            note(name, began.elapsed());
            assert_eq!(added.content.hash.0, *hash.as_bytes());
            if round == 0 {
                first_reads(&store, name, added.content.hash, added.bytes).await;
            }
            store.shutdown().await;
            std::fs::remove_dir_all(&dir).expect("removed");
        }
    }
    let base = median(&mut rows[0].1);
    for (name, rates) in &mut rows {
        let rate = median(rates);
        println!(
            "{name:<32} {rate:8.1} MiB/s   {:.2} of blake3   (median of {ROUNDS})",
            rate / base
        );
    }
}

async fn open(dir: &Path) -> BlobStore {
    let space = SpaceLimits { quota: None, floor: 0 };
    let settings = Settings {
        space,
        ..Settings::default()
    };
    BlobStore::open(dir, settings).await.expect("opens")
}

fn how(mode: Mode) -> Add {
    let (format, reason) = (Format::Blob, Reason::User);
    Add { mode, format, reason }
}

async fn first_reads(store: &BlobStore, name: &str, hash: protocol::BlobHash, len: u64) {
    let mut took = Vec::new();
    for n in 0..READS {
        let at = n * 7_919 * 16_384 % (len - 16_384);
        let began = Instant::now();
        store.read(hash, at..at + 16_384).await.expect("read");
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let first = took[0];
    println!(
        "16 KiB verified from {name}: first {first:.0} us, p50 {:.0} us",
        median(&mut took)
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}
