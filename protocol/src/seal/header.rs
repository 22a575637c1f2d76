//! What a sealed shard begins with: everything but the key that is needed to open it.

use super::KeyEpoch;
use crate::DatanetId;

/// Bytes of a header.
pub const HEADER: usize = 4 + 32 + 4 + 19;
/// The format and its version.
const MAGIC: [u8; 4] = *b"OLS\x01";

/// The front of a sealed shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The datanet that it belongs to.
    pub datanet: DatanetId,
    /// Which of the datanet's keys opens it.
    pub epoch: KeyEpoch,
    /// The front of every nonce: random, and never used twice under one key.
    pub prefix: [u8; 19],
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They end too early.
    #[error("{0} bytes where a sealed shard begins with {HEADER}")]
    Short(usize),
    /// They begin otherwise.
    #[error("this is no sealed shard of version 1; it begins with {0:02x?}")]
    Magic([u8; 4]),
}

impl Header {
    /// `"OLS" ‖ version ‖ datanet ‖ epoch ‖ prefix`, big-endian.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..36].copy_from_slice(&self.datanet.0);
        bytes[36..40].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[40..].copy_from_slice(&self.prefix);
        bytes
    }

    /// The header that a shard begins with.
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
