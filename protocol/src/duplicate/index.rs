//! An index of known records' sketches, as an append-only file.
//!
//! Two concatenated indexes are one index. An incomplete last entry, as after a power failure, is reported with the length
//! of the complete part, so that the file can be truncated there and appended to.

use bincode::{Decode, Encode};

use super::Sketch;
use crate::codec;

/// Longest encoded entry, in bytes.
pub const ENTRY_MAX: usize = 20 << 10;

/// A known record and its sketch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The digest of the record.
    pub record: [u8; 32],
    /// The height at which it was committed; `u64::MAX` for one that is only proposed, so that it sorts last.
    pub committed: u64,
    pub sketch: Sketch,
}

/// Sketches of committed records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// In the order in which they were added.
    pub entries: Vec<Entry>,
}

/// Error of reading an index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("the index of known records ends within an entry; its first {whole} bytes are whole, cut it there")]
    Short {
        /// Bytes of complete entries.
        whole: usize,
    },
    #[error("the entry at byte {at} of the index of known records cannot be read; build the index again")]
    Malformed { at: usize },
}

impl Entry {
    /// Returns the stored form: the length in four bytes, then the encoded entry.
    pub fn encode(&self) -> Vec<u8> {
        let body = codec::encode(self);
        let length = u32::try_from(body.len()).expect("a sketch is bounded");
        [&length.to_be_bytes()[..], &body].concat()
    }
}

impl Index {
    /// Returns the whole index as bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.entries.iter().flat_map(Entry::encode).collect()
    }

    /// Reads an index, or several concatenated ones.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let (mut entries, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let Some((length, rest)) = bytes[at..].split_first_chunk::<4>() else {
                return Err(IndexError::Short { whole: at });
            };
            let length = u32::from_be_bytes(*length) as usize;
            if length > ENTRY_MAX {
                return Err(IndexError::Malformed { at });
            }
            let body = rest.get(..length).ok_or(IndexError::Short { whole: at })?;
            let entry: Entry = codec::decode(body, ENTRY_MAX).map_err(|_| IndexError::Malformed { at })?;
            if !entry.sketch.is_well_formed() {
                return Err(IndexError::Malformed { at });
            }
            entries.push(entry);
            at += 4 + length;
        }
        Ok(Self { entries })
    }
}
