//! The cost of durability: `cargo bench -p storage`. One line per way of writing, in microseconds.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::Height;
use storage::{BlockLog, RealDisk, Wal, block_log::Layout};

const ROUNDS: usize = 400;

fn main() {
    // Not the system's temporary directory, which may be memory.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("durable");
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).expect("the target directory is writable");
    let entry = vec![7u8; 1024];
    let block = vec![7u8; 25 << 10];

    let mut growing = fs::File::create(home.join("growing")).expect("created");
    time("growing file, 1 KiB + fdatasync", |_| {
        growing
            .write_all(&entry)
            .and_then(|()| growing.sync_data())
            .expect("written");
    });

    let (mut wal, _) = Wal::open(Arc::new(RealDisk), &home.join("wal")).expect("opens");
    wal.start_height(Height(1)).expect("started");
    time("consensus journal, 1 KiB + sync", |_| {
        wal.append(&entry).and_then(|()| wal.sync()).expect("written");
    });
    time("consensus journal, next height + 1 KiB + sync", |n| {
        wal.start_height(Height(n + 2)).expect("started");
        wal.append(&entry).and_then(|()| wal.sync()).expect("written");
    });

    let log = BlockLog::open(Arc::new(RealDisk), &home.join("blocks"), Layout::default()).expect("opens");
    time("block log, 25 KiB + sync", |n| {
        log.append(Height(n + 1), &block).expect("appended");
        log.sync().expect("synced");
    });

    scan_many(&home.join("many"));
    let _ = fs::remove_dir_all(&home);
}

fn scan_many(dir: &Path) {
    let log = BlockLog::open(Arc::new(RealDisk), dir, Layout::default()).expect("opens");
    let block = [7u8; 200];
    for height in 1..=1_000_000 {
        log.append(Height(height), &block).expect("appended");
    }
    log.sync().expect("synced");
    drop(log);
    let start = Instant::now();
    let log = BlockLog::open(Arc::new(RealDisk), dir, Layout::default()).expect("opens");
    println!(
        "{:<48} {:>8} ms",
        "open a log of 1,000,000 blocks of 200 B",
        start.elapsed().as_millis()
    );
    assert_eq!(log.tip(), Some(Height(1_000_000)));
}

fn time(what: &str, mut round: impl FnMut(u64)) {
    let mut took: Vec<Duration> = (0..ROUNDS as u64)
        .map(|n| {
            let start = Instant::now();
            round(n);
            start.elapsed()
        })
        .collect();
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)].as_micros();
    println!("{what:<48} p50 {:>6}  p99 {:>6}  max {:>6} us", at(50), at(99), at(100));
}
