//! Transactions that were taken in from wallets, kept until they are included: an acknowledged one survives kill -9 and
//! power loss.
//!
//! A list of records, which a rewrite replaces in one step by what still waits. Keeping a transaction too long is harmless:
//! it is refused when it is offered again.

use std::{path::Path, sync::Arc};

use storage::{
    Disk, JournalError, RecordLog,
    record_log::{RecordLayout, refuse_earlier_format},
};
use tracing::warn;

/// Where an earlier version kept them.
const EARLIER_SIDES: [&str; 2] = ["a", "b"];
const LAYOUT: RecordLayout = RecordLayout {
    step_bytes: 4 << 20,
    advice: "it holds transactions that wait to be included: move its folder away, and whoever sent them sends them again",
};

/// It is rewritten when it is longer than this, and twice as long as when it was last tried.
const BYTES_MAX: u64 = 64 << 20;

/// Why transactions are not kept: the disk did not take them.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct KeepError(#[from] JournalError);

/// The list on disk.
pub struct PoolJournal {
    log: RecordLog,
    /// How long it was when a rewrite was last tried.
    tried_at: u64,
}

impl PoolJournal {
    /// Opens the list under `root`, which need not exist.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, KeepError> {
        for side in EARLIER_SIDES {
            refuse_earlier_format(&*disk, &root.join(side), LAYOUT.advice)?;
        }
        let (log, damage) = RecordLog::open_undamaged_part(disk, root, LAYOUT)?;
        if let Some(damage) = damage {
            warn!(%damage, "waiting transactions behind the damage are lost; whoever sent them can send them again");
        }
        Ok(Self { log, tried_at: 0 })
    }

    /// The transactions in it, in the order they came, up to the first that does not read back.
    pub fn transactions(&self) -> impl Iterator<Item = Arc<[u8]>> + '_ {
        self.log.iter().map_while(|record| match record {
            Ok(raw) => Some(raw.into()),
            Err(why) => {
                warn!(error = %why, "waiting transactions could not be read");
                None
            }
        })
    }

    /// Whether a rewrite is due. One that found little to forget, or failed, is not tried again at once.
    pub fn is_long(&self) -> bool {
        is_long(self.log.bytes(), self.tried_at)
    }

    /// Adds transactions; they are durable when this returns.
    pub fn keep(&mut self, transactions: &[Arc<[u8]>]) -> Result<(), KeepError> {
        Ok(self.log.append(transactions)?)
    }

    /// Forgets the transactions for which `waits` is false.
    pub fn rewrite(&mut self, waits: impl Fn(&[u8]) -> bool) -> Result<(), KeepError> {
        self.tried_at = self.log.bytes();
        self.log.rewrite(waits)?;
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
        let before = journal.log.bytes();
        journal.rewrite(|raw| raw[1] >= 7).unwrap();
        assert!(journal.log.bytes() < before);
        journal.keep(&txs(10..11)).unwrap();
        drop(journal);
        disk.kill();
        assert_eq!(open(&disk).transactions().collect::<Vec<_>>(), txs(7..11));
    }

    #[test]
    fn a_long_list_is_rewritten_once_and_not_again_before_it_doubled() {
        assert!(!open(&FaultDisk::new()).is_long());
        let long = BYTES_MAX + 1;
        assert!(is_long(long, 0));
        // Everything in it still waits.
        assert!(!is_long(long, long));
        assert!(is_long(2 * long + 1, long));
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
        let file = disk.list(Path::new("/pool")).unwrap().pop().unwrap();
        let bytes = disk.bytes(&file).unwrap();
        let last = bytes.windows(102).rposition(|window| window == &tx(2)[..]).unwrap();
        disk.corrupt(&file, last + 50, 1);
        assert_eq!(open(&disk).transactions().collect::<Vec<_>>(), txs(0..2));
    }

    #[test]
    fn transactions_that_an_earlier_version_kept_do_not_vanish_without_a_word() {
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
