//! The block log on a disk that crashes, flips bits and fills up.

use super::*;
use crate::{
    FaultDisk,
    fault::{Dice, Fault},
};

const DIR: &str = "/blocks";
const SMALL: Layout = Layout {
    segment_bytes: 8 << 10,
    first: Height(1),
};

fn open(disk: &FaultDisk) -> Result<BlockLog, JournalError> {
    BlockLog::open(Arc::new(disk.clone()), Path::new(DIR), SMALL)
}

fn block(height: u64) -> Vec<u8> {
    let mut bytes = format!("block {height} ").into_bytes();
    bytes.resize(bytes.len() + Dice(height).below(2500), b'.');
    bytes
}

fn fill(log: &BlockLog, until: u64) {
    let from = log.tip().map_or(1, |tip| tip.0 + 1);
    for height in from..=until {
        log.append(Height(height), &block(height)).expect("appended");
        log.sync().expect("synced");
    }
}

fn check_whole(log: &BlockLog, tip: u64, why: &str) {
    assert_eq!(log.tip(), (tip > 0).then_some(Height(tip)), "{why}");
    let blocks: Result<Vec<_>, _> = log.iter_from(Height(1)).collect();
    let expect: Vec<_> = (1..=tip).map(|height| (Height(height), block(height))).collect();
    assert!(blocks.expect(why) == expect, "{why}: blocks differ");
}

#[test]
fn synced_blocks_survive_a_crash_at_any_change_and_no_block_is_partial() {
    for seed in 0..12u64 {
        for after in 0..120u64 {
            let why = format!("seed {seed}, power cut after {after} changes");
            let disk = FaultDisk::new();
            let mut dice = Dice(seed);
            disk.fail_after(after, Fault::PowerCut);
            let (mut appended, mut synced) = (0, 0);
            let _ = open(&disk).map_err(AppendError::from).and_then(|log| {
                for height in 1..=20 {
                    // A failed append may be there: it was merely not acknowledged.
                    appended = height;
                    log.append(Height(height), &block(height))?;
                    if dice.below(2) == 0 {
                        log.sync()?;
                        synced = height;
                    }
                }
                Ok(())
            });
            disk.crash(seed ^ after << 20);
            let log = open(&disk).unwrap_or_else(|error| panic!("{why}: {error}"));
            let tip = log.tip().map_or(0, |tip| tip.0);
            assert!(
                (synced..=appended).contains(&tip),
                "{why}: tip {tip}, synced {synced}, appended {appended}"
            );
            check_whole(&log, tip, &why);
            disk.crash(seed);
            let log = open(&disk).expect("opens twice");
            check_whole(&log, tip, &why);
            fill(&log, 25);
            disk.crash(seed + 1);
            check_whole(&open(&disk).expect("opens"), 25, &why);
        }
    }
}

#[test]
fn a_full_disk_stops_appends_and_loses_nothing() {
    for after in 0..60 {
        let disk = FaultDisk::new();
        let log = open(&disk).expect("opens");
        fill(&log, 3);
        disk.fail_after(after, Fault::NoSpace);
        let mut synced = 3;
        for height in 4..30 {
            if log.append(Height(height), &block(height)).is_err() || log.sync().is_err() {
                break;
            }
            synced = height;
        }
        disk.kill();
        let log = open(&disk).expect("opens once there is space");
        let tip = log.tip().expect("not empty").0;
        assert!(
            tip == synced || tip == synced + 1,
            "tip {tip} after {synced} were synced"
        );
        fill(&log, 30);
        check_whole(&log, 30, "goes on");
    }
}

#[test]
fn a_flipped_bit_is_detected_and_repair_keeps_earlier_blocks() {
    let disk = FaultDisk::new();
    fill(&open(&disk).expect("opens"), 9);
    let (mut refused, mut unread) = (0, 0);
    for name in ["blocks-0000.log", "blocks-0001.log"] {
        let path = Path::new(DIR).join(name);
        let len = disk.bytes(&path).expect("a segment").len();
        for at in 0..len {
            let disk = copy(&disk);
            disk.corrupt(&path, at, 1 << (at % 8));
            let damaged = match open(&disk) {
                Ok(log) => {
                    let damaged = log.first_damaged().expect("readable");
                    unread += usize::from(damaged.is_some());
                    damaged
                }
                Err(JournalError::Corrupt(damage)) => {
                    refused += 1;
                    assert!(damage.to_string().contains("chain repair"), "{damage}");
                    Some(Height(damage.sequence))
                }
                Err(error) => panic!("{name} byte {at}: {error}"),
            };
            let Some(damaged) = damaged else {
                check_whole(
                    &open(&disk).expect("opens"),
                    9,
                    &format!("{name} byte {at} changed nothing"),
                );
                continue;
            };
            let disk_of_node: Arc<dyn Disk> = Arc::new(disk.clone());
            let (log, cut) = BlockLog::repair(disk_of_node, Path::new(DIR), SMALL).expect("repaired");
            assert_eq!(cut, Some(damaged), "{name} byte {at}");
            check_whole(&log, damaged.0 - 1, "what lies before");
            fill(&log, 9);
            drop(log);
            disk.crash(at as u64);
            check_whole(&open(&disk).expect("opens"), 9, "fetched again");
        }
    }
    assert!(
        refused > 1000 && unread > 1000,
        "{refused} refused at open, {unread} when read"
    );
}

fn copy(disk: &FaultDisk) -> FaultDisk {
    let copy = FaultDisk::new();
    for path in disk.list(Path::new(DIR)).expect("listed") {
        let file = copy.create(&path).expect("a new disk");
        file.write_at(&disk.bytes(&path).expect("listed"), 0)
            .and_then(|()| file.sync_data())
            .expect("written");
    }
    copy.sync_dir(Path::new(DIR)).expect("synced");
    copy
}

#[test]
fn a_log_can_be_truncated_at_any_height_and_continued() {
    for cut in 1..=13 {
        let disk = FaultDisk::new();
        let log = open(&disk).expect("opens");
        fill(&log, 12);
        log.truncate_from(Height(cut)).expect("cut");
        check_whole(&log, cut - 1, "cut");
        disk.crash(cut);
        let log = open(&disk).expect("opens");
        check_whole(&log, cut - 1, "cut for good");
        fill(&log, 14);
        check_whole(&open(&disk).expect("opens"), 14, "goes on");
    }
}

#[test]
fn blocks_are_appended_in_order_only() {
    let log = open(&FaultDisk::new()).expect("opens");
    let error = log.append(Height(2), b"x").expect_err("the first is block 1");
    assert_eq!(error.to_string(), "block 2 does not follow: the log waits for block 1");
    fill(&log, 2);
    assert!(log.append(Height(2), b"x").is_err());
    assert_eq!(log.read(Height(3)).expect("readable"), None);
}

#[test]
fn a_block_larger_than_a_segment_gets_one_of_its_own() {
    let disk = FaultDisk::new();
    let log = open(&disk).expect("opens");
    fill(&log, 1);
    log.append(Height(2), &vec![7; 100_000])
        .and_then(|()| Ok(log.sync()?))
        .expect("appended");
    log.append(Height(3), b"small")
        .and_then(|()| Ok(log.sync()?))
        .expect("appended");
    assert_eq!(log.synced_tip(), Some(Height(3)));
    disk.crash(1);
    let log = open(&disk).expect("opens");
    assert_eq!(log.read(Height(2)).expect("readable").expect("there").len(), 100_000);
    assert_eq!(log.tip(), Some(Height(3)));
}
