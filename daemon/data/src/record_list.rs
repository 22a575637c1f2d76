//! Durable lists of records, in which datanets and deals are kept.
//!
//! A list is a folder with a log of checksummed records. A record that a crash truncated was never acknowledged and is
//! dropped at the next start. An acknowledged record that cannot be read or decoded is an error, never skipped.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use protocol::codec::{self, DecodeError};
use storage::{JournalError, RealDisk, RecordLog, record_log::RecordLayout};

const LAYOUT: RecordLayout = RecordLayout {
    step_bytes: 256 << 10,
    advice: ADVICE,
};
const ADVICE: &str = "no other file of this node has this deal or datanet: restore its folder from a backup, or move it away \
     and the node starts without it";
/// Largest record in bytes: a statement that publishes a full version, or the registration of a large deal.
const RECORD_MAX: usize = 4 << 20;

/// Reason that a record could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordListError {
    #[error("could not read or write the records in {}; check the disk and its free space", dir.display())]
    Disk {
        dir: PathBuf,
        #[source]
        source: JournalError,
    },
    /// The checksum matches, but this version does not know the record.
    #[error("record {number} in {} does not decode: another version wrote it; {ADVICE}", dir.display())]
    Decode {
        dir: PathBuf,
        /// Index of the record, from 0.
        number: usize,
        #[source]
        source: DecodeError,
    },
}

/// One list. Clones share it.
#[derive(Clone)]
pub(super) struct RecordList(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    log: Mutex<RecordLog>,
}

impl RecordList {
    /// Opens the list in `dir`, and creates it if it does not exist.
    pub(super) fn open(dir: &Path) -> Result<Self, RecordListError> {
        let log = RecordLog::open(Arc::new(RealDisk), dir, LAYOUT).map_err(|source| RecordListError::Disk {
            dir: dir.to_owned(),
            source,
        })?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            log: Mutex::new(log),
        })))
    }

    /// Reads all records, in order.
    pub(super) fn read<T: bincode::Decode<()>>(&self) -> Result<Vec<T>, RecordListError> {
        let log = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = || self.0.dir.clone();
        let mut notes = Vec::with_capacity(log.len());
        for (number, record) in log.iter().enumerate() {
            let bytes = record.map_err(|source| RecordListError::Disk { dir: dir(), source })?;
            let note = codec::decode(&bytes, RECORD_MAX).map_err(|source| RecordListError::Decode {
                dir: dir(),
                number,
                source,
            })?;
            notes.push(note);
        }
        Ok(notes)
    }

    /// Appends records. They are durable when this returns.
    pub(super) async fn add<T: bincode::Encode>(&self, notes: &[T]) -> Result<(), RecordListError> {
        let records: Vec<_> = notes.iter().map(codec::encode).collect();
        let list = self.0.clone();
        let adding = tokio::task::spawn_blocking(move || list.add(&records));
        adding.await.expect("adding a record does not panic")
    }
}

impl Inner {
    fn add(&self, records: &[Vec<u8>]) -> Result<(), RecordListError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.append(records).map_err(|source| RecordListError::Disk {
            dir: self.dir.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[tokio::test]
    async fn records_are_there_after_a_restart_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let notes = RecordList::open(dir.path()).unwrap();
        notes.add(&[1u64, 2]).await.unwrap();
        notes.add(&[3u64]).await.unwrap();
        drop(notes);
        assert_eq!(RecordList::open(dir.path()).unwrap().read::<u64>().unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_record_that_does_not_decode_is_an_error_that_names_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let notes = RecordList::open(dir.path()).unwrap();
        notes.add(&[1u64]).await.unwrap();
        notes.add(&[2u8]).await.unwrap();
        let error = notes.read::<u64>().unwrap_err().to_string();
        let begin = format!("record 1 in {} does not decode", dir.path().display());
        assert!(error.starts_with(&begin) && error.contains("backup"), "{error}");
    }

    #[tokio::test]
    async fn the_error_about_a_damaged_deal_does_not_advise_to_repair_the_chain() {
        let dir = tempfile::tempdir().unwrap();
        let notes = RecordList::open(dir.path()).unwrap();
        notes.add(&[1u64]).await.unwrap();
        notes.add(&[2u64]).await.unwrap();
        drop(notes);
        let file = dir.path().join("records.log");
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.windows(8).position(|part| part == codec::encode(&1u64)).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let error = RecordList::open(dir.path()).err().unwrap();
        let why = error.source().unwrap().to_string();
        assert!(
            why.contains("records.log is damaged at byte") && why.contains("backup") && !why.contains("chain repair"),
            "{why}"
        );
    }
}
