//! The list of records on a disk that crashes, flips bits and fills up.

use super::*;
use crate::{
    BlockLog, FaultDisk,
    block_log::Layout,
    fault::{Dice, Fault},
};

const DIR: &str = "/deal";
const SMALL: RecordLayout = RecordLayout {
    step_bytes: 4 << 10,
    advice: "move the folder away",
};

fn try_open(disk: &FaultDisk) -> Result<RecordLog, JournalError> {
    RecordLog::open(Arc::new(disk.clone()), Path::new(DIR), SMALL)
}

fn open(disk: &FaultDisk, why: &str) -> RecordLog {
    try_open(disk).unwrap_or_else(|error| panic!("{why}: {error}"))
}

fn record(number: usize) -> Vec<u8> {
    let mut bytes = format!("record {number} ").into_bytes();
    bytes.resize(bytes.len() + Dice(number as u64).below(1500), b'.');
    bytes
}

fn records(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(record).collect()
}

fn read(log: &RecordLog, why: &str) -> Vec<Vec<u8>> {
    let found: Result<Vec<_>, _> = log.iter().collect();
    let found = found.unwrap_or_else(|error| panic!("{why}: {error}"));
    assert_eq!(
        (log.len(), log.bytes(), log.is_empty()),
        (found.len(), found.concat().len() as u64, found.is_empty()),
        "{why}"
    );
    found
}

#[test]
fn acknowledged_records_survive_a_crash_at_any_change_and_none_is_partial() {
    for seed in 0..12u64 {
        for after in 0..100u64 {
            let why = format!("seed {seed}, power cut after {after} changes");
            let disk = FaultDisk::new();
            let mut dice = Dice(seed);
            disk.fail_after(after, Fault::PowerCut);
            let (mut asked, mut acknowledged) = (0, 0);
            let _ = try_open(&disk).and_then(|mut log| {
                while acknowledged < 20 {
                    asked = acknowledged + 1 + dice.below(3);
                    log.append(&records(acknowledged..asked))?;
                    acknowledged = asked;
                }
                Ok(())
            });
            disk.crash(seed ^ after << 20);
            let found = read(&open(&disk, &why), &why);
            assert!(
                (acknowledged..=asked).contains(&found.len()) && found == records(0..found.len()),
                "{why}: {} found, {acknowledged} acknowledged, {asked} asked",
                found.len()
            );
            disk.crash(seed);
            let mut log = open(&disk, &why);
            assert!(read(&log, &why) == found, "{why}: opens twice");
            log.append(&records(found.len()..25)).expect("goes on");
            disk.crash(seed + 1);
            assert!(read(&open(&disk, &why), &why) == records(0..25), "{why}: goes on");
        }
    }
}

#[test]
fn a_crash_anywhere_in_a_rewrite_leaves_the_old_list_or_the_new_one() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..8u64 {
        for after in 0..30u64 {
            let why = format!("seed {seed}, power cut after {after} changes");
            let disk = FaultDisk::new();
            let mut log = open(&disk, &why);
            log.append(&records(0..9)).expect("a good disk");
            disk.fail_after(after, Fault::PowerCut);
            let late: Vec<_> = records(6..9);
            let rewritten = log.rewrite(|record| late.iter().any(|one| one == record));
            // Records acknowledged after a rewrite are in the file that has the name.
            let appended = rewritten.is_ok() && log.append(&records(9..10)).is_ok();
            disk.crash(seed);
            let found = read(&open(&disk, &why), &why);
            if found.len() > 8 {
                assert!(found == records(0..9) && rewritten.is_err(), "{why}");
                old += 1;
            } else {
                assert!(
                    found[..3] == records(6..9) && found[3..] == records(9..10)[..found.len() - 3],
                    "{why}"
                );
                assert!(found.len() == 4 || !appended, "{why}");
                new += 1;
            }
            assert_eq!(
                disk.list(Path::new(DIR)).expect("listed").len(),
                1,
                "{why}: nothing is left over"
            );
        }
    }
    assert!(old > 20 && new > 20, "both happen: {old} old, {new} new");
}

#[test]
fn a_full_disk_refuses_records_and_takes_them_when_it_has_space() {
    for fault in [Fault::NoSpace, Fault::Io] {
        for after in 0..40 {
            let why = format!("{fault:?} after {after} changes");
            let disk = FaultDisk::new();
            let mut log = open(&disk, &why);
            log.append(&records(0..3)).expect("a good disk");
            disk.fail_after(after, fault);
            let mut acknowledged = records(0..3);
            let mut refused = 0;
            for number in 3..12 {
                match log.append(&records(number..number + 1)) {
                    Ok(()) => acknowledged.push(record(number)),
                    Err(_) => refused += 1,
                }
                assert!(
                    read(&log, &why) == acknowledged,
                    "{why}: what was refused does not show"
                );
                if refused == 2 {
                    disk.heal();
                }
            }
            // The remains of a refused record are gone once another one is acknowledged.
            disk.heal();
            log.append(&records(12..13)).expect("there is space");
            acknowledged.push(record(12));
            disk.crash(after);
            assert!(read(&open(&disk, &why), &why) == acknowledged, "{why}");
        }
    }
}

#[test]
fn a_flipped_bit_is_reported_and_the_records_before_it_can_be_kept() {
    let disk = FaultDisk::new();
    open(&disk, "new").append(&records(0..7)).expect("a good disk");
    let path = Path::new(DIR).join(FILE);
    let bytes = disk.bytes(&path).expect("a list");
    let mut refused = 0;
    for at in 0..bytes.len() {
        let disk = FaultDisk::new();
        let file = disk.create(&path).expect("a new disk");
        file.write_at(&bytes, 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| disk.sync_dir(Path::new(DIR)))
            .expect("written");
        disk.corrupt(&path, at, 1 << (at % 8));
        let why = format!("byte {at}");
        let damage = match try_open(&disk) {
            // One of the two headers, the mark at the end, or zeros after it.
            Ok(log) => {
                assert!(read(&log, &why) == records(0..7), "{why}");
                continue;
            }
            Err(JournalError::Corrupt(damage)) => damage,
            Err(error) => panic!("{why}: {error}"),
        };
        refused += 1;
        let text = damage.to_string();
        assert!(
            text.starts_with("/deal/records.log is damaged at byte ") && text.ends_with("move the folder away"),
            "{text}"
        );
        assert!(
            damage.offset <= at as u64 && at as u64 <= damage.offset + 2000,
            "{text}: {why}"
        );
        let again: Arc<dyn Disk> = Arc::new(disk.clone());
        let (mut log, found) = RecordLog::open_undamaged_part(again, Path::new(DIR), SMALL).expect("cut");
        let left = usize::try_from(damage.sequence).expect("small");
        assert_eq!(found, Some(damage), "{why}");
        assert!(read(&log, &why) == records(0..left), "{why}: what lies before");
        log.append(&records(left..9)).expect("goes on");
        drop(log);
        disk.crash(at as u64);
        assert!(read(&open(&disk, &why), &why) == records(0..9), "{why}: goes on");
    }
    assert!(refused > 1000, "{refused} refused");
}

#[test]
fn a_file_of_another_format_is_refused_unchanged() {
    let disk = FaultDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let blocks = BlockLog::open(shared, Path::new(DIR), Layout::default()).expect("opens");
    blocks
        .append(protocol::Height(1), b"an earlier deal")
        .expect("appended");
    blocks.sync().expect("synced");
    drop(blocks);
    let old = Path::new(DIR).join("blocks-0000.log");
    let before = disk.bytes(&old);
    assert_eq!(
        try_open(&disk).err().expect("refused").to_string(),
        "/deal/blocks-0000.log has a format of an earlier version, which is no longer read; move the folder away"
    );
    assert_eq!(disk.bytes(&old), before);
    disk.rename(&old, &Path::new(DIR).join(FILE)).expect("renamed");
    let refused = try_open(&disk).err().expect("refused").to_string();
    assert!(
        refused.contains("its header is not that of a list of records"),
        "{refused}"
    );
    assert_eq!(disk.bytes(&Path::new(DIR).join(FILE)), before);
}

#[test]
fn a_record_has_at_least_one_byte_and_a_batch_with_a_bad_one_adds_none() {
    let disk = FaultDisk::new();
    let mut log = open(&disk, "new");
    let error = log.append(&[&b"good"[..], b""]).expect_err("an empty record");
    assert!(error.to_string().starts_with("a record of 0 bytes"), "{error}");
    log.append::<&[u8]>(&[]).expect("nothing to do");
    assert!(log.is_empty() && disk.list(Path::new(DIR)).expect("listed").is_empty());
}

#[test]
fn a_record_damaged_while_the_list_is_open_is_an_error_on_reading() {
    let disk = FaultDisk::new();
    let mut log = open(&disk, "new");
    log.append(&records(0..2)).expect("a good disk");
    let path = Path::new(DIR).join(FILE);
    let at = disk
        .bytes(&path)
        .expect("a list")
        .windows(8)
        .position(|part| part == b"record 1");
    disk.corrupt(&path, at.expect("it lies there"), 1);
    let read: Vec<_> = log.iter().collect();
    assert!(read[0].is_ok());
    let error = read[1].as_ref().expect_err("damaged").to_string();
    assert!(error.contains("(record 1): its payload does not match"), "{error}");
    assert!(
        log.rewrite(|_| true).is_err(),
        "a rewrite does not leave it out without a word"
    );
}
