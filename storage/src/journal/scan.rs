//! Reading a journal back: finding the end of its records, and whether an acknowledged one is damaged.

use std::path::Path;

use super::{
    Corrupt, FRAME_BYTES, HEADER_COPY_AT, JournalError, RECORDS_AT,
    frame::{FRAME, Frame, HEADER, Header},
};
use crate::disk::File;

const WINDOW: usize = 1 << 20;

/// The state of an existing file's header.
pub(crate) enum Head {
    Valid(Header),
    /// Creation did not reach the header: the file never held a record.
    Blank,
    /// No valid header, but data after it.
    Broken,
}

/// The part of each record that a scan reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Frames only; payloads are checked when they are read.
    Frames,
    Payloads,
}

/// The end of a file's valid records.
pub(crate) struct Scanned {
    pub(crate) end: u64,
    pub(crate) next: u64,
    /// True if a record at `end` was durable once and is damaged.
    pub(crate) damaged: bool,
    /// Offset after the last byte that is not zero.
    pub(super) used: u64,
}

impl Scanned {
    /// Returns an end chosen by the caller. The bytes after it, up to `len`, will be overwritten with zeros.
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
            // A crash while the file was started over left one old copy and one new. Either is correct: there was no
            // record yet.
            Ok(Head::Valid(if one.tag >= two.tag { one } else { two }))
        }
        [Some(header), _] | [None, Some(header)] => Ok(Head::Valid(header)),
        [None, None] => {
            let used = last_used(file, path, RECORDS_AT)?;
            Ok(if used == RECORDS_AT { Head::Blank } else { Head::Broken })
        }
    }
}

/// Reads the records of a file in order and finds their end.
pub(crate) fn scan(
    file: &dyn File,
    path: &Path,
    header: &Header,
    depth: Depth,
    mut visit: impl FnMut(u64, u64, &[u8]),
) -> Result<Scanned, JournalError> {
    let len = file.len().map_err(JournalError::io("measure", path))?;
    // If payloads are skipped, reading far ahead would read them after all.
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
    // A valid mark in place of the next record proves that no record was ever synced there.
    let damaged = !ended_by_mark && was_acknowledged(&mut window, header, at, next)?;
    Ok(Scanned {
        end: at,
        next,
        damaged,
        used: last_used(file, path, at)?,
    })
}

/// Reads one record. Does not depend on the writer's state.
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

/// Returns true if a valid frame after `at` states that record `sequence` was durable.
fn was_acknowledged(window: &mut Window<'_>, header: &Header, at: u64, sequence: u64) -> Result<bool, JournalError> {
    let mut from = at + 1;
    while from + FRAME_BYTES <= window.len {
        let bytes = window.get(from, WINDOW.min(usize::try_from(window.len - from).unwrap_or(WINDOW)))?;
        if bytes.len() < FRAME {
            break;
        }
        for (start, part) in bytes.chunks(4096).enumerate().map(|(n, part)| (n * 4096, part)) {
            // A valid frame is never all zero where a part begins inside it, because its checksum is not.
            let until = (start + part.len()).min(bytes.len() + 1 - FRAME);
            if is_zero(&bytes[start..(start + part.len() + FRAME).min(bytes.len())]) {
                continue;
            }
            let acknowledges = |frame: &Frame| frame.sequence > sequence && frame.synced > sequence;
            if (start..until).any(|p| Frame::decode(&bytes[p..p + FRAME], header).is_some_and(|f| acknowledges(&f))) {
                return Ok(true);
            }
        }
        // Overlap by one frame, so that none is missed between two windows.
        from += (bytes.len() + 1 - FRAME) as u64;
    }
    Ok(false)
}

/// Returns the offset after the last byte that is not zero, from `from` on; `from` if all are zero.
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

/// A read-ahead buffer for sequential small reads.
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

    /// Returns `want` bytes at `at`; fewer at the end of the file.
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
