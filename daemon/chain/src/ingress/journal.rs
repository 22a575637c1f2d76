//! Transactions that were taken in from wallets, kept until they are included: an acknowledged one survives kill -9 and
//! power loss.
//!
//! Two block logs take turns as lists of records, one per directory. A rewrite copies what still waits to the other
//! directory, ends it with a mark that says how often this was done, syncs it, and only then deletes the old one. The
//! highest mark is the list; a directory without one is an attempt that a crash cut short. Keeping a transaction too
//! long is harmless: it is refused when it is offered again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::Height;
use storage::{
    BlockLog, Disk, JournalError,
    block_log::{AppendError, Layout},
};
use tracing::warn;

const SIDES: [&str; 2] = ["a", "b"];
const LAYOUT: Layout = Layout {
    segment_bytes: 4 << 20,
    first: Height(1),
};

/// First byte of a record: a transaction follows.
const TRANSACTION: u8 = 0;
/// First byte of a record: the number of the rewrite follows, and everything before is complete.
const COMPLETE: u8 = 1;

/// It is rewritten when it is longer than this, and twice as long as when it was last tried.
const BYTES_MAX: u64 = 64 << 20;

/// Why transactions are not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The disk did not take them.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A record could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// The list on disk.
pub struct PoolJournal {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    side: usize,
    log: BlockLog,
    rewrites: u64,
    bytes: u64,
    /// How long it was when a rewrite was last tried.
    tried_at: u64,
    failed: bool,
}

impl PoolJournal {
    /// Opens the list under `root`, which need not exist.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, KeepError> {
        let sides = [open_side(&disk, root, 0)?, open_side(&disk, root, 1)?];
        let rank = |(log, mark): &(BlockLog, Option<u64>)| (*mark, log.tip());
        // Without any mark it is new, or it was damaged and the longer one has more left of it.
        let side = usize::from(rank(&sides[1]) > rank(&sides[0]));
        let [first, second] = sides;
        let (log, mark) = if side == 0 { first } else { second };
        let mut journal = Self {
            disk,
            root: root.to_owned(),
            side,
            bytes: records(&log).map(|record| record.len() as u64).sum(),
            log,
            rewrites: mark.unwrap_or(0),
            tried_at: 0,
            failed: false,
        };
        if mark.is_none() {
            journal.rewrite(|_| true)?;
        }
        Ok(journal)
    }

    /// The transactions in it, in the order they came.
    pub fn transactions(&self) -> impl Iterator<Item = Arc<[u8]>> + '_ {
        records(&self.log).filter_map(|record| match record.split_first() {
            Some((&TRANSACTION, raw)) => Some(raw.into()),
            _ => None,
        })
    }

    /// Whether a rewrite is due. One that found little to forget, or failed, is not tried again at once.
    pub fn is_long(&self) -> bool {
        self.bytes > BYTES_MAX.max(self.tried_at.saturating_mul(2))
    }

    /// Adds transactions; they are durable when this returns. After a failure the next call begins a new list first.
    pub fn keep(&mut self, transactions: &[Arc<[u8]>]) -> Result<(), KeepError> {
        if self.failed {
            self.rewrite(|_| true)?;
        }
        let kept = self.append_all(transactions);
        self.failed = kept.is_err();
        kept
    }

    /// Forgets the transactions for which `waits` is false.
    pub fn rewrite(&mut self, waits: impl Fn(&[u8]) -> bool) -> Result<(), KeepError> {
        self.tried_at = self.bytes;
        let other = 1 - self.side;
        clear(&*self.disk, &side_dir(&self.root, other))?;
        let log = BlockLog::open(self.disk.clone(), &side_dir(&self.root, other), LAYOUT)?;
        let (mut next, mut bytes) = (LAYOUT.first, 0);
        let mut copy = |record: &[u8]| {
            log.append(next, record)?;
            next = next.next();
            bytes += record.len() as u64;
            Ok::<_, AppendError>(())
        };
        for raw in self.transactions().filter(|raw| waits(raw)) {
            copy(&[&[TRANSACTION], &raw[..]].concat())?;
        }
        copy(&[&[COMPLETE], &(self.rewrites + 1).to_be_bytes()[..]].concat())?;
        log.sync()?;
        let old = std::mem::replace(&mut self.log, log);
        drop(old);
        (self.side, self.bytes, self.tried_at, self.failed) = (other, bytes, bytes, false);
        self.rewrites += 1;
        clear(&*self.disk, &side_dir(&self.root, 1 - other))
    }

    fn append_all(&mut self, transactions: &[Arc<[u8]>]) -> Result<(), KeepError> {
        for raw in transactions {
            let next = self.log.tip().map_or(LAYOUT.first, Height::next);
            self.log.append(next, &[&[TRANSACTION], &raw[..]].concat())?;
            self.bytes += raw.len() as u64 + 1;
        }
        Ok(self.log.sync()?)
    }
}

fn side_dir(root: &Path, side: usize) -> PathBuf {
    root.join(SIDES[side])
}

/// Opens one directory; the second part is its mark.
fn open_side(disk: &Arc<dyn Disk>, root: &Path, side: usize) -> Result<(BlockLog, Option<u64>), KeepError> {
    let dir = side_dir(root, side);
    let log = match BlockLog::open(disk.clone(), &dir, LAYOUT) {
        Err(JournalError::Corrupt(damage)) => {
            warn!(%damage, "waiting transactions behind the damage are lost; whoever sent them can send them again");
            BlockLog::repair(disk.clone(), &dir, LAYOUT)?.0
        }
        other => other?,
    };
    let mark = records(&log).filter_map(|record| match record.split_first() {
        Some((&COMPLETE, number)) => number.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    });
    let mark = mark.max();
    Ok((log, mark))
}

/// The records of a log, up to the first that does not read back.
fn records(log: &BlockLog) -> impl Iterator<Item = Vec<u8>> + '_ {
    log.iter_from(LAYOUT.first).map_while(|record| match record {
        Ok((_, record)) => Some(record),
        Err(why) => {
            warn!(error = %why, "waiting transactions could not be read");
            None
        }
    })
}

/// Deletes a log, last segment first, so that a crash leaves a shorter one that still opens.
fn clear(disk: &dyn Disk, dir: &Path) -> Result<(), KeepError> {
    let io = |verb, source| JournalError::Io {
        verb,
        file: dir.to_owned(),
        source,
    };
    let mut files = disk.list(dir).map_err(|source| io("list", source))?;
    files.sort();
    for file in files.iter().rev() {
        disk.remove(file).map_err(|source| io("clear", source))?;
        disk.sync_dir(dir).map_err(|source| io("sync", source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use storage::{FaultDisk, fault::Fault};

    use super::*;

    fn tx(n: u16) -> Arc<[u8]> {
        [&n.to_be_bytes()[..], &[7; 100]].concat().into()
    }

    fn txs(range: std::ops::Range<u16>) -> Vec<Arc<[u8]>> {
        range.map(tx).collect()
    }

    fn open(disk: &FaultDisk) -> PoolJournal {
        PoolJournal::open(Arc::new(disk.clone()), Path::new("/pool")).unwrap()
    }

    #[test]
    fn what_was_kept_survives_every_power_cut() {
        for seed in 0..50 {
            let disk = FaultDisk::new();
            let mut journal = open(&disk);
            journal.keep(&txs(0..3)).unwrap();
            journal.keep(&txs(3..5)).unwrap();
            disk.crash(seed);
            assert_eq!(open(&disk).transactions().collect::<Vec<_>>(), txs(0..5), "seed {seed}");
        }
    }

    #[test]
    fn a_rewrite_forgets_what_no_longer_waits() {
        let disk = FaultDisk::new();
        let mut journal = open(&disk);
        journal.keep(&txs(0..10)).unwrap();
        let before = journal.bytes;
        journal.rewrite(|raw| raw[1] >= 7).unwrap();
        assert!(journal.bytes < before);
        journal.keep(&txs(10..11)).unwrap();
        drop(journal);
        disk.kill();
        assert_eq!(open(&disk).transactions().collect::<Vec<_>>(), txs(7..11));
    }

    #[test]
    fn a_long_list_is_rewritten_once_and_not_again_before_it_doubled() {
        let mut journal = open(&FaultDisk::new());
        assert!(!journal.is_long());
        journal.bytes = BYTES_MAX + 1;
        assert!(journal.is_long());
        // Everything in it still waits.
        journal.tried_at = journal.bytes;
        assert!(!journal.is_long());
        journal.bytes = 2 * journal.tried_at + 1;
        assert!(journal.is_long());
    }

    #[test]
    fn power_may_fail_anywhere_in_a_rewrite() {
        let mut cut_short = 0;
        for at in 0..40 {
            for seed in 0..5 {
                let disk = FaultDisk::new();
                let mut journal = open(&disk);
                journal.keep(&txs(0..20)).unwrap();
                disk.fail_after(at, Fault::PowerCut);
                let done = journal.rewrite(|raw| raw[1] >= 15);
                disk.crash(seed);
                let mut journal = open(&disk);
                let found: Vec<_> = journal.transactions().collect();
                assert!(
                    found == txs(15..20) || (done.is_err() && found == txs(0..20)),
                    "change {at}, seed {seed}: {} found",
                    found.len()
                );
                cut_short += u32::from(found.len() == 20);
                // And it goes on from there.
                journal.keep(&txs(20..21)).unwrap();
                journal.rewrite(|raw| raw[1] >= 15).unwrap();
                disk.crash(seed);
                assert_eq!(open(&disk).transactions().collect::<Vec<_>>(), txs(15..21));
            }
        }
        assert!(
            cut_short > 10,
            "the power failed before the new list was complete {cut_short} times"
        );
    }

    #[test]
    fn a_disk_that_was_full_is_used_again_when_it_is_not() {
        let disk = FaultDisk::new();
        let mut journal = open(&disk);
        journal.keep(&txs(0..2)).unwrap();
        disk.fail_after(0, Fault::NoSpace);
        assert!(journal.keep(&txs(2..3)).is_err());
        assert!(journal.keep(&txs(3..4)).is_err(), "still full");
        disk.heal();
        journal.keep(&txs(4..5)).unwrap();
        disk.crash(1);
        let found: Vec<_> = open(&disk).transactions().collect();
        assert!(txs(0..2).iter().chain(&txs(4..5)).all(|raw| found.contains(raw)));
    }

    #[test]
    fn damage_at_rest_loses_what_lies_behind_it_and_no_more() {
        let disk = FaultDisk::new();
        let mut journal = open(&disk);
        journal.keep(&txs(0..3)).unwrap();
        drop(journal);
        disk.kill();
        let dirs = SIDES.map(|side| Path::new("/pool").join(side));
        let file = dirs.iter().find_map(|dir| disk.list(dir).unwrap().pop()).unwrap();
        let bytes = disk.bytes(&file).unwrap();
        let last = bytes.windows(102).rposition(|window| window == &tx(2)[..]).unwrap();
        disk.corrupt(&file, last + 50, 1);
        assert_eq!(open(&disk).transactions().collect::<Vec<_>>(), txs(0..2));
    }
}
