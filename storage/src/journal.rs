//! Records in a preallocated file: what the block log and the consensus journal share.
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

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::disk::{Disk, File};

/// The longest payload: above any block that consensus allows.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 32 << 20;
/// Where records begin.
pub(crate) const RECORDS_AT: u64 = 1024;
/// What a record takes beside its payload; also the size of a mark.
pub(crate) const FRAME_BYTES: u64 = 28;

const FRAME: usize = 28;
const HEADER: usize = 40;
const HEADER_COPY_AT: usize = 512;
const MAGIC: &[u8; 8] = b"oljrnl01";
/// How far ahead of the records the file is filled with zeros.
const ZERO_AHEAD: u64 = 1 << 20;
const WINDOW: usize = 1 << 20;

/// A record that was durable and no longer reads back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset} (record {sequence}): {what}; {advice}", file.display())]
pub struct Corrupt {
    /// The file.
    pub file: PathBuf,
    /// The first byte that cannot be trusted.
    pub offset: u64,
    /// The record: a height in the block log, a count in the consensus journal.
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

/// What stands at the head of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// What the file is for: a height.
    pub(crate) tag: u64,
    /// The sequence of its first record.
    pub(crate) first: u64,
    pub(crate) nonce: u64,
    pub(crate) flags: u32,
}

/// What the head of a file that exists says.
pub(crate) enum Head {
    Valid(Header),
    /// Creation did not get as far as the header: there was never anything in it.
    Blank,
    /// There is no header that holds, and there are bytes behind it.
    Broken,
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

/// How much of each record a scan reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Frames only: a payload is checked when it is read.
    Frames,
    Payloads,
}

/// Where the valid records of a file end.
pub(crate) struct Scanned {
    pub(crate) end: u64,
    pub(crate) next: u64,
    /// A record at `end` was durable once, and is damaged.
    pub(crate) damaged: bool,
    /// Past the last byte that is not zero.
    used: u64,
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

impl Scanned {
    /// An end chosen by the caller: what follows up to `len` will be wiped.
    pub(crate) fn cut(end: u64, next: u64, len: u64) -> Self {
        Self {
            end,
            next,
            damaged: false,
            used: len,
        }
    }
}

/// Reads the header of a file.
pub(crate) fn head(file: &dyn File, path: &Path) -> Result<Head, JournalError> {
    let mut bytes = [0; HEADER_COPY_AT + HEADER];
    file.read_at(&mut bytes, 0).map_err(JournalError::io("read", path))?;
    let copies = [&bytes[..HEADER], &bytes[HEADER_COPY_AT..]].map(Header::decode);
    match copies {
        [Some(one), Some(two)] if one != two => {
            // A crash while the file was taken into use again kept one of each. Either will do: nothing was in it yet.
            Ok(Head::Valid(if one.tag >= two.tag { one } else { two }))
        }
        [Some(header), _] | [None, Some(header)] => Ok(Head::Valid(header)),
        [None, None] => {
            let used = last_used(file, path, RECORDS_AT)?;
            Ok(if used == RECORDS_AT { Head::Blank } else { Head::Broken })
        }
    }
}

/// Walks the records of a file in order and finds where they end.
pub(crate) fn scan(
    file: &dyn File,
    path: &Path,
    header: &Header,
    depth: Depth,
    mut visit: impl FnMut(u64, u64, &[u8]),
) -> Result<Scanned, JournalError> {
    let len = file.len().map_err(JournalError::io("measure", path))?;
    // Where payloads are skipped, reading far ahead would read them after all.
    let ahead = if depth == Depth::Frames { 16 << 10 } else { WINDOW };
    let mut window = Window::new(file, path, len, ahead);
    let (mut at, mut next) = (RECORDS_AT, header.first);
    let ended_by_mark = loop {
        let Some(frame) = Frame::decode(window.get(at, FRAME)?, header) else {
            break false;
        };
        let past = at + FRAME_BYTES + u64::from(frame.len);
        if frame.sequence != next || past > len {
            break false;
        }
        if frame.len == 0 {
            break true;
        }
        if depth == Depth::Payloads {
            let payload = window.get(at + FRAME_BYTES, frame.len as usize)?;
            if crc32fast::hash(payload) != frame.payload_crc {
                break false;
            }
            visit(next, at, payload);
        } else {
            visit(next, at, &[]);
        }
        (at, next) = (past, next + 1);
    };
    // A valid mark stands where the next record would: so none was ever synced there.
    let damaged = !ended_by_mark && was_promised(&mut window, header, at, next)?;
    Ok(Scanned {
        end: at,
        next,
        damaged,
        used: last_used(file, path, at)?,
    })
}

/// Reads one record, wherever the writer is.
pub(crate) fn read(
    file: &dyn File,
    path: &Path,
    header: &Header,
    at: u64,
    sequence: u64,
    advice: &'static str,
) -> Result<Vec<u8>, JournalError> {
    let corrupt = |what| Corrupt {
        file: path.to_owned(),
        offset: at,
        sequence,
        what,
        advice,
    };
    let mut frame = [0; FRAME];
    file.read_at(&mut frame, at).map_err(JournalError::io("read", path))?;
    let frame = Frame::decode(&frame, header)
        .filter(|frame| frame.sequence == sequence)
        .ok_or_else(|| corrupt("its frame does not match its checksum"))?;
    let mut payload = vec![0; frame.len as usize];
    let got = file
        .read_at(&mut payload, at + FRAME_BYTES)
        .map_err(JournalError::io("read", path))?;
    if got < payload.len() || crc32fast::hash(&payload) != frame.payload_crc {
        return Err(corrupt("its payload does not match its checksum").into());
    }
    Ok(payload)
}

/// Whether any valid frame behind `at` says that record `sequence` was durable.
fn was_promised(window: &mut Window<'_>, header: &Header, at: u64, sequence: u64) -> Result<bool, JournalError> {
    let mut from = at + 1;
    while from + FRAME_BYTES <= window.len {
        let bytes = window.get(from, WINDOW.min(usize::try_from(window.len - from).unwrap_or(WINDOW)))?;
        if bytes.len() < FRAME {
            break;
        }
        for (start, part) in bytes.chunks(4096).enumerate().map(|(n, part)| (n * 4096, part)) {
            // A frame that holds is never all zero where a part begins inside it: its checksum is not.
            let until = (start + part.len()).min(bytes.len() + 1 - FRAME);
            if is_zero(&bytes[start..(start + part.len() + FRAME).min(bytes.len())]) {
                continue;
            }
            let promises = |frame: &Frame| frame.sequence > sequence && frame.synced > sequence;
            if (start..until).any(|p| Frame::decode(&bytes[p..p + FRAME], header).is_some_and(|f| promises(&f))) {
                return Ok(true);
            }
        }
        // Overlap by a frame, so that none is missed where two windows meet.
        from += (bytes.len() + 1 - FRAME) as u64;
    }
    Ok(false)
}

/// Past the last byte from `from` on that is not zero; `from` if all are.
fn last_used(file: &dyn File, path: &Path, from: u64) -> Result<u64, JournalError> {
    let len = file.len().map_err(JournalError::io("measure", path))?;
    let mut window = Window::new(file, path, len, WINDOW);
    let (mut at, mut used) = (from, from);
    while at < len {
        let bytes = window.get(at, WINDOW.min(usize::try_from(len - at).unwrap_or(WINDOW)))?;
        if !is_zero(bytes) {
            used = at
                + bytes
                    .iter()
                    .rposition(|&byte| byte != 0)
                    .map_or(0, |last| last as u64 + 1);
        }
        at += bytes.len() as u64;
    }
    Ok(used)
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(4096).all(|part| part == &ZEROS[..part.len()])
}

/// A large read kept for the small ones that follow.
struct Window<'a> {
    file: &'a dyn File,
    path: &'a Path,
    len: u64,
    at: u64,
    ahead: usize,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn File, path: &'a Path, len: u64, ahead: usize) -> Self {
        Self {
            file,
            path,
            len,
            at: 0,
            ahead,
            bytes: Vec::new(),
        }
    }

    /// `want` bytes at `at`, fewer if the file ends.
    fn get(&mut self, at: u64, want: usize) -> Result<&[u8], JournalError> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let want = want.min(left);
        let inside = at >= self.at && at + want as u64 <= self.at + self.bytes.len() as u64;
        if !inside {
            self.bytes.resize(want.max(self.ahead).min(left), 0);
            let got = self
                .file
                .read_at(&mut self.bytes, at)
                .map_err(JournalError::io("read", self.path))?;
            self.bytes.truncate(got);
            self.at = at;
        }
        let from = usize::try_from(at - self.at).expect("inside the window");
        Ok(&self.bytes[from..(from + want).min(self.bytes.len())])
    }
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.tag.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.nonce.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let holds = &bytes[..8] == MAGIC && crc32fast::hash(&bytes[..36]) == u32_at(bytes, 36);
        holds.then(|| Self {
            tag: u64_at(bytes, 8),
            first: u64_at(bytes, 16),
            nonce: u64_at(bytes, 24),
            flags: u32_at(bytes, 32),
        })
    }
}

/// What stands before a payload.
struct Frame {
    len: u32,
    payload_crc: u32,
    sequence: u64,
    synced: u64,
}

impl Frame {
    fn of(payload: &[u8], sequence: u64, synced: u64) -> Self {
        let len = u32::try_from(payload.len()).expect("payloads are limited");
        Self {
            len,
            payload_crc: crc32fast::hash(payload),
            sequence,
            synced,
        }
    }

    fn encode(&self, header: &Header) -> [u8; FRAME] {
        let mut bytes = [0; FRAME];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced.to_le_bytes());
        let crc = frame_crc(header, &bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], header: &Header) -> Option<Self> {
        if bytes.len() < FRAME {
            return None;
        }
        let frame = Self {
            len: u32_at(bytes, 0),
            payload_crc: u32_at(bytes, 4),
            sequence: u64_at(bytes, 8),
            synced: u64_at(bytes, 16),
        };
        // The cheap tests come first: while searching, this is asked of every byte.
        let plausible = frame.len as usize <= PAYLOAD_BYTES_MAX
            && frame.sequence >= header.first
            && frame.synced <= frame.sequence
            && frame.synced >= header.first;
        (plausible && frame_crc(header, &bytes[..24]) == u32_at(bytes, 24)).then_some(frame)
    }
}

fn frame_crc(header: &Header, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header.nonce.to_le_bytes());
    crc.update(&header.tag.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
