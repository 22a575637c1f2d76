//! The header of a sealed shard: everything but the key that is needed to open it.

use super::KeyEpoch;
use crate::DatanetId;

/// Size of a header, in bytes.
pub const HEADER: usize = 4 + 32 + 4 + 19;
/// Format name and version.
const MAGIC: [u8; 4] = *b"OLS\x01";

/// The header of a sealed shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub datanet: DatanetId,
    /// The epoch of the key that opens it.
    pub epoch: KeyEpoch,
    /// The prefix of every nonce: random, and never used twice under one key.
    pub prefix: [u8; 19],
}

/// Error of reading a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("{0} bytes where a sealed shard begins with {HEADER}")]
    Short(usize),
    /// Another format, or another version.
    #[error("this is no sealed shard of version 1; it begins with {0:02x?}")]
    Magic([u8; 4]),
}

impl Header {
    /// Returns `"OLS" ‖ version ‖ datanet ‖ epoch ‖ prefix`, big-endian.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..36].copy_from_slice(&self.datanet.0);
        bytes[36..40].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[40..].copy_from_slice(&self.prefix);
        bytes
    }

    /// Reads the header at the start of a sealed shard.
    pub fn read(shard: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER] = shard.first_chunk().ok_or(HeaderError::Short(shard.len()))?;
        let (magic, rest) = bytes.split_first_chunk().expect("a header is longer than its magic");
        if *magic != MAGIC {
            return Err(HeaderError::Magic(*magic));
        }
        let (datanet, rest) = rest.split_first_chunk().expect("a header holds a datanet");
        let (epoch, prefix) = rest.split_first_chunk().expect("a header holds an epoch");
        Ok(Self {
            datanet: DatanetId(*datanet),
            epoch: KeyEpoch(u32::from_be_bytes(*epoch)),
            prefix: prefix.try_into().expect("the rest of a header is its prefix"),
        })
    }
}
