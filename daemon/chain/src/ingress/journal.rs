//! The journal of wallets' transactions: an acknowledged transaction survives `kill -9` and power loss until it is
//! included.
//!
//! It is a list of records, which a rewrite replaces atomically by those that are still pending. A transaction that
//! is kept too long does no harm: it is refused when it is submitted again.

use std::{path::Path, sync::Arc};

use storage::{
    Disk, JournalError, RecordLog,
    record_log::{RecordLayout, refuse_earlier_format},
};
use tracing::warn;

/// Folders of the journal in an earlier format.
const EARLIER_SIDES: [&str; 2] = ["a", "b"];
const LAYOUT: RecordLayout = RecordLayout {
    step_bytes: 4 << 20,
    advice: "it holds transactions that are not included yet: move its folder away, and their senders can send them again",
};

/// Bytes from which on the journal is rewritten, if it has also doubled since the last attempt.
const BYTES_MAX: u64 = 64 << 20;

/// The disk did not take the transactions. They are in the mempool and may be lost in a crash.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PoolJournalError(#[from] JournalError);

/// The journal of pending transactions on disk. One process has it open at a time.
pub struct PoolJournal {
    log: RecordLog,
    /// Bytes of the journal at the last attempt to rewrite it.
    tried_at: u64,
}

impl PoolJournal {
    /// Opens the journal under `root`, which need not exist.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, PoolJournalError> {
        for side in EARLIER_SIDES {
            refuse_earlier_format(&*disk, &root.join(side), LAYOUT.advice)?;
        }
        let (log, damage) = RecordLog::open_undamaged_part(disk, root, LAYOUT)?;
        if let Some(damage) = damage {
            warn!(%damage, "lost the transactions behind the damage; their senders can send them again");
        }
        Ok(Self { log, tried_at: 0 })
    }

    /// The journalled transactions in the order of arrival, up to the first that cannot be read.
    pub fn transactions(&self) -> impl Iterator<Item = Arc<[u8]>> + '_ {
        self.log.iter().map_while(|record| match record {
            Ok(raw) => Some(raw.into()),
            Err(why) => {
                warn!(error = %why, "could not read journalled transactions");
                None
            }
        })
    }

    /// Returns true if a rewrite is due. One that dropped little, or failed, is not repeated at once.
    pub fn needs_rewrite(&self) -> bool {
        is_long(self.log.bytes(), self.tried_at)
    }

    /// Appends transactions; they are durable when this returns.
    pub fn append(&mut self, transactions: &[Arc<[u8]>]) -> Result<(), PoolJournalError> {
        Ok(self.log.append(transactions)?)
    }

    /// Drops the transactions for which `is_pending` is false. A crash leaves the old records or the new ones,
    /// never a mixture.
    pub fn rewrite(&mut self, is_pending: impl Fn(&[u8]) -> bool) -> Result<(), PoolJournalError> {
        self.tried_at = self.log.bytes();
        self.log.rewrite(is_pending)?;
        self.tried_at = self.log.bytes();
        Ok(())
    }
}

fn is_long(bytes: u64, tried_at: u64) -> bool {
    bytes > BYTES_MAX.max(tried_at.saturating_mul(2))
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
    fn journalled_transactions_survive_every_power_cut() {
        for seed in 0..50 {
            let disk = FaultDisk::new();
            let mut journal = open(&disk);
            journal.append(&txs(0..3)).unwrap();
            journal.append(&txs(3..5)).unwrap();
            disk.crash(seed);
            assert_eq!(open(&disk).transactions().collect::<Vec<_>>(), txs(0..5), "seed {seed}");
        }
    }

    #[test]
    fn a_rewrite_drops_transactions_that_are_no_longer_pending() {
        let disk = FaultDisk::new();
        let mut journal = open(&disk);
        journal.append(&txs(0..10)).unwrap();
        let before = journal.log.bytes();
        journal.rewrite(|raw| raw[1] >= 7).unwrap();
        assert!(journal.log.bytes() < before);
        journal.append(&txs(10..11)).unwrap();
        drop(journal);
        disk.kill();
        assert_eq!(open(&disk).transactions().collect::<Vec<_>>(), txs(7..11));
    }

    #[test]
    fn a_long_journal_is_rewritten_once_and_not_again_before_it_doubled() {
        assert!(!open(&FaultDisk::new()).needs_rewrite());
        let long = BYTES_MAX + 1;
        assert!(is_long(long, 0));
        // Everything in it still is_pending.
        assert!(!is_long(long, long));
        assert!(is_long(2 * long + 1, long));
    }

    #[test]
    fn a_power_cut_at_any_point_of_a_rewrite_loses_nothing() {
        let mut cut_short = 0;
        for at in 0..40 {
            for seed in 0..5 {
                let disk = FaultDisk::new();
                let mut journal = open(&disk);
                journal.append(&txs(0..20)).unwrap();
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
                journal.append(&txs(20..21)).unwrap();
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
    fn a_journal_is_written_again_once_a_full_disk_has_space() {
        let disk = FaultDisk::new();
        let mut journal = open(&disk);
        journal.append(&txs(0..2)).unwrap();
        disk.fail_after(0, Fault::NoSpace);
        assert!(journal.append(&txs(2..3)).is_err());
        assert!(journal.append(&txs(3..4)).is_err(), "still full");
        disk.heal();
        journal.append(&txs(4..5)).unwrap();
        disk.crash(1);
        let found: Vec<_> = open(&disk).transactions().collect();
        assert!(txs(0..2).iter().chain(&txs(4..5)).all(|raw| found.contains(raw)));
    }

    #[test]
    fn damage_at_rest_loses_only_the_records_behind_it() {
        let disk = FaultDisk::new();
        let mut journal = open(&disk);
        journal.append(&txs(0..3)).unwrap();
        drop(journal);
        disk.kill();
        let file = disk.list(Path::new("/pool")).unwrap().pop().unwrap();
        let bytes = disk.bytes(&file).unwrap();
        let last = bytes.windows(102).rposition(|window| window == &tx(2)[..]).unwrap();
        disk.corrupt(&file, last + 50, 1);
        assert_eq!(open(&disk).transactions().collect::<Vec<_>>(), txs(0..2));
    }

    #[test]
    fn a_journal_in_an_earlier_format_is_an_error() {
        let disk = FaultDisk::new();
        disk.create(Path::new("/pool/b/blocks-0000.log")).unwrap();
        let error = PoolJournal::open(Arc::new(disk), Path::new("/pool")).err().unwrap();
        let error = error.to_string();
        assert!(
            error.starts_with("/pool/b/blocks-0000.log has a format of an earlier version"),
            "{error}"
        );
    }
}
