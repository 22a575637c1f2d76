//! The sketches of records that are already known, as bytes that grow at their end.
//!
//! Two indexes one behind another are the index of both. An entry that ends early, as after a power cut, is reported with
//! the length of what is whole, so that the file can be cut there and written on.

use bincode::{Decode, Encode};

use super::Sketch;
use crate::codec;

/// Longest encoded entry.
pub const ENTRY_MAX: usize = 20 << 10;

/// A record, as far as duplicates are concerned.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The digest of the record.
    pub record: [u8; 32],
    /// The height at which it was committed; what is only proposed comes last, at `u64::MAX`.
    pub committed: u64,
    /// What is compared.
    pub sketch: Sketch,
}

/// Records that were committed before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// In the order in which they were added.
    pub entries: Vec<Entry>,
}

/// Why bytes are no index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The end is missing.
    #[error("the index of known records ends within an entry; its first {whole} bytes are whole, cut it there")]
    Short {
        /// Bytes of whole entries.
        whole: usize,
    },
    /// An entry is none.
    #[error("the entry at byte {at} of the index of known records cannot be read; build the index again")]
    Malformed {
        /// Where it begins.
        at: usize,
    },
}

impl Entry {
    /// The entry as it is stored: its length in four bytes, then itself.
    pub fn encode(&self) -> Vec<u8> {
        let body = codec::encode(self);
        let length = u32::try_from(body.len()).expect("a sketch is bounded");
        [&length.to_be_bytes()[..], &body].concat()
    }
}

impl Index {
    /// The whole index as bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.entries.iter().flat_map(Entry::encode).collect()
    }

    /// Reads an index, or several one behind another.
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
