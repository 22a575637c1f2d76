//! Lists of records that are durable when they are added: what datanets and deals are remembered by.
//!
//! Each list is a folder with checksummed segments. A record that a kill cut off was promised to nobody and is gone at the
//! next start; one that was promised and does not read back is an error.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{Height, codec};
use storage::{
    BlockLog, JournalError, RealDisk,
    block_log::{AppendError, Layout},
};

const LAYOUT: Layout = Layout {
    segment_bytes: 256 << 10,
    first: Height(1),
};
/// Longest record: a statement that publishes as much as fits, or the registration of a large deal.
const RECORD_MAX: usize = 4 << 20;

/// Why something is not remembered.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// The disk did not take or give it.
    #[error("could not read or write the records in {}; check the disk and its free space", dir.display())]
    Disk {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: JournalError,
    },
    /// A record was not appended.
    #[error("could not add a record in {}; check the disk and its free space", dir.display())]
    Append {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: AppendError,
    },
}

/// One list. Clones are the same.
#[derive(Clone)]
pub(super) struct Notes(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    log: Mutex<BlockLog>,
}

impl Notes {
    /// Opens the list in `dir`, which need not exist.
    pub(super) fn open(dir: &Path) -> Result<Self, NoteError> {
        let log = BlockLog::open(Arc::new(RealDisk), dir, LAYOUT).map_err(|source| NoteError::Disk {
            dir: dir.to_owned(),
            source,
        })?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            log: Mutex::new(log),
        })))
    }

    /// Everything in it, in order. Records of another version are left out.
    pub(super) fn read<T: bincode::Decode<()>>(&self) -> Result<Vec<T>, NoteError> {
        let log = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut notes = Vec::new();
        for record in log.iter_from(LAYOUT.first) {
            let (_, bytes) = record.map_err(|source| NoteError::Disk {
                dir: self.0.dir.clone(),
                source,
            })?;
            notes.extend(codec::decode(&bytes, RECORD_MAX));
        }
        Ok(notes)
    }

    /// Adds records; they are durable when this returns.
    pub(super) async fn add<T: bincode::Encode>(&self, notes: &[T]) -> Result<(), NoteError> {
        let records: Vec<_> = notes.iter().map(codec::encode).collect();
        let list = self.0.clone();
        let adding = tokio::task::spawn_blocking(move || list.add(&records));
        adding.await.expect("adding a record does not panic")
    }
}

impl Inner {
    fn add(&self, records: &[Vec<u8>]) -> Result<(), NoteError> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = || self.dir.clone();
        for record in records {
            let next = log.tip().map_or(LAYOUT.first, Height::next);
            log.append(next, record)
                .map_err(|source| NoteError::Append { dir: dir(), source })?;
        }
        log.sync().map_err(|source| NoteError::Disk { dir: dir(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_added_is_there_after_a_restart_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::open(dir.path()).unwrap();
        notes.add(&[1u64, 2]).await.unwrap();
        notes.add(&[3u64]).await.unwrap();
        drop(notes);
        assert_eq!(Notes::open(dir.path()).unwrap().read::<u64>().unwrap(), [1, 2, 3]);
    }
}
