//! The file format that the block log, the record log and the write-ahead log share: records in a preallocated file.
//!
//! A growing file costs a file-system journal commit per `fdatasync`, eight times the price, so files are filled with zeros
//! ahead of the records. The end of the records is therefore not the end of the file: it is the first position without a
//! valid next record.
//!
//! ```text
//! file    header (twice, so that no single bad sector loses it), records, [mark], zeros
//! header  magic 8, tag 8, first 8, nonce 8, flags 4, crc32 4
//! record  length 4, crc32 of payload 4, sequence 8, synced 8, crc32 of (nonce, tag, this header) 4, payload
//! mark    a record of length 0 behind the last synced one; the next record overwrites it
//! ```
//!
//! `synced` says that every record below that sequence number was durable when this one was written. It separates the two
//! kinds of bad record: one torn by a crash and never acknowledged, which is cut off, and one damaged after it was
//! acknowledged, which is an error. The nonce prevents records of an earlier use of the file, and payloads crafted by peers,
//! from being taken for records.

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

/// Longest payload, in bytes: above any block that consensus allows.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 32 << 20;
/// Offset of the first record.
pub(crate) const RECORDS_AT: u64 = 1024;
/// Size of a record without its payload; also the size of a mark.
pub(crate) const FRAME_BYTES: u64 = 28;

const HEADER_COPY_AT: usize = 512;
/// Number of bytes that are filled with zeros ahead of the records.
const ZERO_AHEAD: u64 = 1 << 20;

/// A record that was durable and is now damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset} (record {sequence}): {what}; {advice}", file.display())]
pub struct Corrupt {
    pub file: PathBuf,
    /// Offset of the first byte that cannot be trusted.
    pub offset: u64,
    /// Number of the record: a height in the block log; elsewhere, the number of records before it.
    pub sequence: u64,
    /// The damage.
    pub what: &'static str,
    /// Advice to the operator.
    pub advice: &'static str,
}

/// Error of opening, reading or writing a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    #[error("could not {verb} {}", file.display())]
    Io {
        /// The operation that failed.
        verb: &'static str,
        file: PathBuf,
        source: io::Error,
    },
    /// An earlier write or sync failed. The content of the file is unknown until it is read again.
    #[error("{} takes no more writes since one failed; restart the node to recover", file.display())]
    Failed { file: PathBuf },
    #[error("a record of {bytes} bytes; it must have 1 to {}", PAYLOAD_BYTES_MAX)]
    Length { bytes: usize },
    /// A file in the format of an earlier version.
    #[error("{} has a format of an earlier version, which is no longer read; {advice}", file.display())]
    EarlierFormat {
        file: PathBuf,
        /// Advice to the operator.
        advice: &'static str,
    },
    /// The file may not grow further.
    #[error("{} is full at {limit} bytes", file.display())]
    Full {
        file: PathBuf,
        /// The largest size, in bytes.
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
    /// Offset of the next record.
    end: u64,
    /// Sequence number of the next record.
    next: u64,
    /// Every record below this sequence number is durable.
    synced: u64,
    /// True if the header or a record was written and not synced.
    dirty: bool,
    zeroed: u64,
    len: u64,
    failed: bool,
}

impl Journal {
    /// Creates a file of `len` bytes, durable under its name, for records from `header.first` on.
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

    /// Continues a file after `scanned`. The bytes behind that were never acknowledged, and are overwritten with
    /// zeros.
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
        // After a killed process, the bytes just read may be in the page cache only.
        journal.sync()?;
        Ok(journal)
    }

    /// Starts the file over from its beginning. Not synced.
    pub(crate) fn restart(&mut self, header: Header) -> Result<(), JournalError> {
        let mut bytes = vec![0; usize::try_from(RECORDS_AT).expect("small")];
        bytes[..HEADER].copy_from_slice(&header.encode());
        bytes[HEADER_COPY_AT..HEADER_COPY_AT + HEADER].copy_from_slice(&header.encode());
        self.header = header;
        (self.end, self.next, self.synced) = (RECORDS_AT, header.first, header.first);
        self.dirty = true;
        self.write(&bytes, 0)
    }

    /// Writes a record and returns its offset. It is durable after [`Self::sync`].
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<u64, JournalError> {
        if payload.is_empty() || payload.len() > PAYLOAD_BYTES_MAX {
            return Err(JournalError::Length { bytes: payload.len() });
        }
        let at = self.end;
        assert!(self.fits(payload.len()), "the caller grows the file first");
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

    /// Returns true if a payload and the mark behind it fit into the file without growing it.
    pub(crate) fn fits(&self, payload: usize) -> bool {
        self.end + FRAME_BYTES + payload as u64 + FRAME_BYTES <= self.len
    }

    /// Renames the file over `to`. Durable once the directory is synced.
    pub(crate) fn rename(&mut self, disk: &dyn Disk, to: &Path) -> Result<(), JournalError> {
        disk.rename(&self.path, to)
            .map_err(JournalError::io("rename", &self.path))?;
        to.clone_into(&mut self.path);
        Ok(())
    }

    /// Extends the file to `len` bytes.
    pub(crate) fn grow(&mut self, len: u64) -> Result<(), JournalError> {
        self.file
            .preallocate(len)
            .map_err(JournalError::io("reserve space for", &self.path))?;
        self.len = self.len.max(len);
        self.dirty = true;
        Ok(())
    }

    /// Makes every record so far durable.
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
            // The kernel may have dropped the dirty pages, so a second sync would report a false success.
            self.failed = true;
            return Err(JournalError::io("sync", &self.path)(source));
        }
        self.dirty = false;
        self.synced = self.next;
        // The mark needs no sync of its own: it matters only if bytes are damaged later.
        let mark = Frame::of(&[], self.next, self.synced).encode(&self.header);
        self.write(&mark, self.end)
    }

    /// Returns true if a power failure could lose something written.
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
