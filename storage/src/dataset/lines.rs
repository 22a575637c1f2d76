//! Reading lines with a length limit that holds before memory is allocated: a line of 2 GB costs an error.

use std::io::{self, BufRead};

use super::error::RecordFault;

/// A line reader with a line counter.
pub(super) struct Lines<R> {
    reader: R,
    max: u64,
    pub(super) line: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, max: u64) -> Self {
        Self { reader, max, line: 0 }
    }

    /// Appends the next line with its end to `buffer`, which may hold earlier lines of the same record. Returns
    /// `Ok(Ok(false))` at the end of the file, and a fault if the record grows beyond the limit.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>) -> io::Result<Result<bool, RecordFault>> {
        use io::Read;
        // The line end does not count, so up to two bytes more are read before a line is too long.
        let room = (self.max + 2).saturating_sub(buffer.len() as u64);
        let read = (&mut self.reader).take(room + 1).read_until(b'\n', buffer)?;
        self.line += u64::from(read > 0);
        if trimmed(buffer).len() as u64 > self.max {
            return Ok(Err(RecordFault::TooLong { max: self.max }));
        }
        Ok(Ok(read > 0))
    }
}

/// Returns a record without its line end.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Returns the text of a record, or the position of its first invalid byte.
pub(super) fn text(bytes: &[u8]) -> Result<&str, RecordFault> {
    std::str::from_utf8(bytes).map_err(|error| RecordFault::NotUtf8 {
        byte: error.valid_up_to() + 1,
    })
}
