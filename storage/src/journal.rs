//! Records in a preallocated file: what the block log, the record log and the consensus journal share.
//!
//! A file that grows costs a journal commit of the file system per `fdatasync`, eight times the price, so files are
//! filled with zeros ahead of the records. The end is therefore not the end of the file: it is where the next record in
//! sequence is not valid.
//!
//! ```text
//! file    header (twice, so that no single bad sector loses it), records, [mark], zeros
//! header  magic 8, tag 8, first 8, nonce 8, flags 4, crc32 4
//! record  length 4, crc32 of payload 4, sequence 8, synced 8, crc32 of (nonce, tag, this header) 4, payload
//! mark    a record of length 0 behind the last synced one; the next record overwrites it
//! ```
//!
//! `synced` says that every record before that sequence was durable when this one was written. It tells the two ways a
//! record can be bad apart: torn by a crash, and never promised to anybody; or damaged after it was promised. The first
//! is cut off, the second is an error. The nonce keeps records of an earlier use of the file, and payloads that peers
//! craft, from passing as records.

mod frame;
mod scan;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::disk::{Disk, File};
pub(crate) use frame::Header;
use frame::{FRAME, Frame, HEADER};
pub(crate) use scan::{Depth, Head, Scanned, head, read, scan};

/// The longest payload: above any block that consensus allows.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 32 << 20;
/// Where records begin.
pub(crate) const RECORDS_AT: u64 = 1024;
/// What a record takes beside its payload; also the size of a mark.
pub(crate) const FRAME_BYTES: u64 = 28;

const HEADER_COPY_AT: usize = 512;
/// How far ahead of the records the file is filled with zeros.
const ZERO_AHEAD: u64 = 1 << 20;

/// A record that was durable and no longer reads back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset} (record {sequence}): {what}; {advice}", file.display())]
pub struct Corrupt {
    /// The file.
    pub file: PathBuf,
    /// The first byte that cannot be trusted.
    pub offset: u64,
    /// The record: a height in the block log, elsewhere how many lie before it.
    pub sequence: u64,
    /// What is wrong with it.
    pub what: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

/// Why a journal could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Bytes at rest went bad.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The operating system refused.
    #[error("could not {verb} {}", file.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// An earlier write or sync failed. What the file holds is unknown until it is read again.
    #[error("{} takes no more writes since one failed; restart the node to recover", file.display())]
    Failed {
        /// Which file.
        file: PathBuf,
    },
    /// A payload of a size that is not allowed.
    #[error("a record of {bytes} bytes; it must have 1 to {}", PAYLOAD_BYTES_MAX)]
    Length {
        /// Its size.
        bytes: usize,
    },
    /// A file of an earlier version of this program.
    #[error("{} has a format of an earlier version, which is no longer read; {advice}", file.display())]
    EarlierFormat {
        /// Which file.
        file: PathBuf,
        /// What to do about it.
        advice: &'static str,
    },
    /// The file may not grow further.
    #[error("{} is full at {limit} bytes", file.display())]
    Full {
        /// Which file.
        file: PathBuf,
        /// How far it may grow.
        limit: u64,
    },
}

impl JournalError {
    pub(crate) fn io<'a>(verb: &'static str, file: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            verb,
            file: file.to_owned(),
            source,
        }
    }
}

/// One file of records, open for appending.
pub(crate) struct Journal {
    file: Arc<dyn File>,
    path: PathBuf,
    header: Header,
    /// Where the next record goes.
    end: u64,
    /// The sequence of the next record.
    next: u64,
    /// Every record before this sequence is durable.
    synced: u64,
    /// The header or a record was written and not synced.
    dirty: bool,
    zeroed: u64,
    len: u64,
    failed: bool,
}

impl Journal {
    /// Creates a file of `len` bytes, durable under its name, for records from `header.first`.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, header: Header, len: u64) -> Result<Self, JournalError> {
        let file = disk.create(path).map_err(JournalError::io("create", path))?;
        file.preallocate(len)
            .map_err(JournalError::io("reserve space for", path))?;
        let mut journal = Self {
            file,
            path: path.to_owned(),
            header,
            end: RECORDS_AT,
            next: header.first,
            synced: header.first,
            dirty: false,
            zeroed: RECORDS_AT,
            len,
            failed: false,
        };
        journal.restart(header)?;
        journal.zero_ahead()?;
        journal.sync()?;
        let dir = path.parent().expect("a journal lies in a directory");
        disk.sync_dir(dir)
            .map_err(JournalError::io("sync the directory of", path))?;
        Ok(journal)
    }

    /// Continues a file behind `scanned`. What follows there was never promised, and is wiped.
    pub(crate) fn resume(
        file: Arc<dyn File>,
        path: &Path,
        header: Header,
        scanned: &Scanned,
    ) -> Result<Self, JournalError> {
        let len = file.len().map_err(JournalError::io("measure", path))?;
        let (end, next) = (scanned.end, scanned.next);
        let mut journal = Self {
            file,
            path: path.to_owned(),
            header,
            end,
            next,
            synced: next,
            dirty: true,
            zeroed: end,
            len,
            failed: false,
        };
        journal.write_zeros(end, scanned.used)?;
        // After a kill without a power cut, what was read may be in memory only.
        journal.sync()?;
        Ok(journal)
    }

    /// Uses the file anew from its start. Not synced.
    pub(crate) fn restart(&mut self, header: Header) -> Result<(), JournalError> {
        let mut bytes = vec![0; usize::try_from(RECORDS_AT).expect("small")];
        bytes[..HEADER].copy_from_slice(&header.encode());
        bytes[HEADER_COPY_AT..HEADER_COPY_AT + HEADER].copy_from_slice(&header.encode());
        self.header = header;
        (self.end, self.next, self.synced) = (RECORDS_AT, header.first, header.first);
        self.dirty = true;
        self.write(&bytes, 0)
    }

    /// Writes a record and says where. It is durable after [`Self::sync`].
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<u64, JournalError> {
        if payload.is_empty() || payload.len() > PAYLOAD_BYTES_MAX {
            return Err(JournalError::Length { bytes: payload.len() });
        }
        let at = self.end;
        assert!(self.fits(payload.len()), "the owner makes room first");
        let mut record = Vec::with_capacity(FRAME + payload.len());
        record.extend_from_slice(&Frame::of(payload, self.next, self.synced).encode(&self.header));
        record.extend_from_slice(payload);
        self.write(&record, at)?;
        self.end += record.len() as u64;
        self.next += 1;
        self.dirty = true;
        self.zero_ahead()?;
        Ok(at)
    }

    /// Whether a payload and the mark behind it fit into the file as it is.
    pub(crate) fn fits(&self, payload: usize) -> bool {
        self.end + FRAME_BYTES + payload as u64 + FRAME_BYTES <= self.len
    }

    /// Gives the file another name, replacing what had it. Durable when the directory is synced.
    pub(crate) fn rename(&mut self, disk: &dyn Disk, to: &Path) -> Result<(), JournalError> {
        disk.rename(&self.path, to)
            .map_err(JournalError::io("rename", &self.path))?;
        to.clone_into(&mut self.path);
        Ok(())
    }

    /// Makes the file longer.
    pub(crate) fn grow(&mut self, len: u64) -> Result<(), JournalError> {
        self.file
            .preallocate(len)
            .map_err(JournalError::io("reserve space for", &self.path))?;
        self.len = self.len.max(len);
        self.dirty = true;
        Ok(())
    }

    /// Returns when every record so far is durable.
    pub(crate) fn sync(&mut self) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Failed {
                file: self.path.clone(),
            });
        }
        if !self.dirty {
            return Ok(());
        }
        if let Err(source) = self.file.sync_data() {
            // The kernel may have dropped the pages: a second sync would claim what is not so.
            self.failed = true;
            return Err(JournalError::io("sync", &self.path)(source));
        }
        self.dirty = false;
        self.synced = self.next;
        // The mark itself needs no sync. It only has to be there when bits rot later.
        let mark = Frame::of(&[], self.next, self.synced).encode(&self.header);
        self.write(&mark, self.end)
    }

    /// Whether something was written that a power cut could take.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> Arc<dyn File> {
        self.file.clone()
    }

    fn zero_ahead(&mut self) -> Result<(), JournalError> {
        if self.end + FRAME_BYTES <= self.zeroed {
            return Ok(());
        }
        let until = (self.end + ZERO_AHEAD).min(self.len);
        self.write_zeros(self.end, until)?;
        self.zeroed = until;
        Ok(())
    }

    fn write_zeros(&mut self, from: u64, until: u64) -> Result<(), JournalError> {
        let zeros = vec![0; 64 << 10];
        let mut at = from;
        while at < until {
            let part = usize::try_from(until - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.write(&zeros[..part], at)?;
            at += part as u64;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Failed {
                file: self.path.clone(),
            });
        }
        self.file.write_at(bytes, at).map_err(|source| {
            self.failed = true;
            JournalError::io("write", &self.path)(source)
        })
    }
}
