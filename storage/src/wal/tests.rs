//! The write-ahead log on a disk that crashes, flips bits and fills up.

use super::*;
use crate::{
    FaultDisk,
    fault::{Dice, Fault},
};

const DIR: &str = "/wal";

fn open(disk: &FaultDisk) -> Result<(Wal, Recovered), JournalError> {
    Wal::open_sized(Arc::new(disk.clone()), Path::new(DIR), 16 << 10)
}

fn entry(height: u64, n: u64, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = format!("{height}/{n}/").into_bytes();
    bytes.resize(bytes.len() + dice.below(900), b'.');
    bytes
}

/// The entries that were acknowledged before the crash, for each height that may be current.
#[derive(Default)]
struct Promised {
    height: u64,
    synced: Vec<Vec<u8>>,
    appended: Vec<Vec<u8>>,
}

/// Writes heights of a few entries each, until the disk fails.
fn live(wal: &mut Wal, from: u64, heights: u64, dice: &mut Dice, seen: &mut Promised) -> Result<(), JournalError> {
    for height in from..from + heights {
        wal.start_height(Height(height))?;
        *seen = Promised {
            height,
            ..Promised::default()
        };
        for n in 0..dice.below(5) as u64 {
            let entry = entry(height, n, dice);
            seen.appended.push(entry.clone());
            wal.append(&entry)?;
            if dice.below(2) == 0 {
                wal.sync()?;
                seen.synced.clone_from(&seen.appended);
            }
        }
        // A height may also end through synced blocks, without entries that had to be durable.
        if height + 1 == from + heights || dice.below(2) == 0 {
            wal.sync()?;
            seen.synced.clone_from(&seen.appended);
        }
    }
    Ok(())
}

#[test]
fn synced_entries_survive_a_crash_at_any_change_and_none_is_partial() {
    for seed in 0..12u64 {
        for after in 0..150u64 {
            let replay = format!("seed {seed}, power cut after {after} changes");
            let disk = FaultDisk::new();
            let mut dice = Dice(seed);
            disk.fail_after(after, Fault::PowerCut);
            let mut seen = Promised::default();
            let lived = open(&disk).and_then(|(mut wal, _)| live(&mut wal, 1, 8, &mut dice, &mut seen));
            disk.crash(seed ^ after << 20);
            let (mut wal, recovered) = open(&disk).unwrap_or_else(|error| panic!("{replay}: {error}"));
            if lived.is_err() && recovered.height.0 != seen.height {
                // The crash came while a height was started: the previous one is over, and the new one is empty.
                assert!(
                    seen.synced.is_empty() || recovered.height.0 == seen.height + 1,
                    "{replay}: lost the height"
                );
                assert!(
                    recovered.height.0 <= seen.height || recovered.entries.is_empty(),
                    "{replay}"
                );
            } else {
                assert!(
                    recovered.entries.starts_with(&seen.synced),
                    "{replay}: lost a synced entry"
                );
                assert!(
                    seen.appended.starts_with(&recovered.entries),
                    "{replay}: an entry nobody wrote"
                );
            }
            // It keeps what it recovered, and continues from there.
            disk.crash(seed);
            drop(wal);
            let again;
            (wal, again) = open(&disk).expect("opens twice");
            assert_eq!(again, recovered, "{replay}: recovered another history");
            let from = recovered.height.0.max(seen.height) + 1;
            live(&mut wal, from, 3, &mut dice, &mut seen).expect("no fault is left");
            disk.crash(seed);
            let (_, last) = open(&disk).expect("opens");
            assert_eq!((last.height, last.entries), (Height(from + 2), seen.synced), "{replay}");
        }
    }
}

#[test]
fn a_flipped_bit_is_detected_or_changed_nothing() {
    let disk = FaultDisk::new();
    let (mut wal, _) = open(&disk).expect("opens");
    let mut seen = Promised::default();
    live(&mut wal, 1, 2, &mut Dice(3), &mut seen).expect("no fault");
    for n in 0..3 {
        let entry = vec![b'a'; 20 * (n + 1)];
        wal.append(&entry).and_then(|()| wal.sync()).expect("no fault");
        seen.synced.push(entry);
    }
    let (path, mut refused) = (Path::new(DIR).join(NAMES[1]), 0);
    let frame = usize::try_from(journal::FRAME_BYTES).expect("small");
    let records: usize = seen.synced.iter().map(|entry| frame + entry.len()).sum();
    let len = usize::try_from(journal::RECORDS_AT).expect("small") + records + frame + 100;
    for at in 0..len {
        let disk = copy(&disk);
        disk.corrupt(&path, at, 1 << (at % 8));
        match open(&disk) {
            Ok((_, recovered)) => {
                assert_eq!(
                    (recovered.height, recovered.entries),
                    (Height(2), seen.synced.clone()),
                    "byte {at}"
                );
            }
            Err(JournalError::Corrupt(damage)) => {
                refused += 1;
                assert!(
                    damage.offset <= at as u64 && damage.to_string().contains("do not sign"),
                    "{damage}"
                );
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert_eq!(refused, records, "every byte of every synced record counts");
}

fn copy(disk: &FaultDisk) -> FaultDisk {
    let copy = FaultDisk::new();
    for name in NAMES {
        let path = Path::new(DIR).join(name);
        let file = copy.create(&path).expect("a new disk");
        file.write_at(&disk.bytes(&path).expect("both are in use"), 0)
            .and_then(|()| file.sync_data())
            .expect("written");
    }
    copy.sync_dir(Path::new(DIR)).expect("synced");
    copy
}

#[test]
fn an_entry_cut_off_after_a_torn_one_never_reappears() {
    for seed in 0..20 {
        let disk = FaultDisk::new();
        let (mut wal, _) = open(&disk).expect("opens");
        wal.start_height(Height(1)).expect("started");
        wal.append(b"first, torn")
            .and_then(|()| wal.append(b"second, kept"))
            .expect("appended");
        disk.kill();
        disk.corrupt(
            &Path::new(DIR).join(NAMES[0]),
            usize::try_from(journal::RECORDS_AT).expect("small") + 30,
            1,
        );
        let (mut wal, recovered) = open(&disk).expect("neither was promised");
        assert!(recovered.entries.is_empty());
        wal.append(b"other, kept").and_then(|()| wal.sync()).expect("appended");
        disk.crash(seed);
        // It has the length of the torn one, so that the second would follow it.
        assert_eq!(open(&disk).expect("opens").1.entries, [b"other, kept"], "seed {seed}");
    }
}

#[test]
fn a_lost_journal_sits_out_one_height_even_after_a_restart() {
    let disk = FaultDisk::new();
    let (mut wal, recovered) = open(&disk).expect("opens");
    assert_eq!(recovered.sits_out(Some(Height(9))), Some(Height(10)));
    assert_eq!(recovered.sits_out(None), None, "a new node has signed nothing");
    wal.start_height(Height(10)).expect("started");
    disk.crash(1);
    let (mut wal, recovered) = open(&disk).expect("opens");
    assert_eq!(
        recovered.sits_out(Some(Height(9))),
        Some(Height(10)),
        "still that height"
    );
    wal.start_height(Height(11)).expect("started");
    wal.sync().expect("synced");
    disk.crash(2);
    assert_eq!(open(&disk).expect("opens").1.sits_out(Some(Height(10))), None);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    let disk = FaultDisk::new();
    let (mut wal, _) = open(&disk).expect("opens");
    wal.start_height(Height(1)).expect("started");
    wal.append(b"vote").expect("appended");
    disk.fail_after(0, Fault::Io);
    assert!(wal.sync().is_err());
    disk.heal();
    assert!(
        matches!(wal.sync(), Err(JournalError::Failed { .. })),
        "the pages may be gone"
    );
}

#[test]
fn a_height_may_outgrow_its_file() {
    let disk = FaultDisk::new();
    let (mut wal, _) = open(&disk).expect("opens");
    wal.start_height(Height(1)).expect("started");
    let entries = vec![vec![7; 1000]; 100];
    for entry in &entries {
        wal.append(entry).expect("appended");
    }
    wal.sync().expect("synced");
    disk.crash(5);
    assert_eq!(open(&disk).expect("opens").1.entries, entries);
}
