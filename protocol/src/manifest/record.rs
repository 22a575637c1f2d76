//! Record rows: the position and digest of each record, in rows of a fixed length, so that record n is found directly.

use crate::crypto::digest;

/// Size of an encoded [`RecordRow`].
pub const RECORD_ROW_BYTES: u64 = 56;

/// The position of one record in the stream of source files, and its digest.
///
/// A row of a Parquet file is not a range of bytes: its `offset` and `bytes` cover the whole file, and `row` is its number
/// there. For every other format `row` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordRow {
    /// Start in the stream.
    pub offset: u64,
    pub bytes: u64,
    /// Row number within a Parquet file.
    pub row: u64,
    /// The [`record_digest`] of the record's bytes; for a Parquet row, of its canonical JSON.
    pub digest: [u8; 32],
}

impl RecordRow {
    /// Returns the stored form: three big-endian numbers and the digest.
    pub fn encode(&self) -> [u8; 56] {
        let mut out = [0; 56];
        out[..8].copy_from_slice(&self.offset.to_be_bytes());
        out[8..16].copy_from_slice(&self.bytes.to_be_bytes());
        out[16..24].copy_from_slice(&self.row.to_be_bytes());
        out[24..].copy_from_slice(&self.digest);
        out
    }

    /// Decodes a row. Any 56 bytes are a row; the caller checks the position against the stream.
    pub fn decode(bytes: &[u8; 56]) -> Self {
        let number = |from: usize| {
            let eight = bytes[from..from + 8].try_into().expect("eight bytes of fifty-six");
            u64::from_be_bytes(eight)
        };
        Self {
            offset: number(0),
            bytes: number(8),
            row: number(16),
            digest: bytes[24..].try_into().expect("the last thirty-two of fifty-six"),
        }
    }
}

/// Returns the digest that identifies a record in attribution, payment and version comparison.
///
/// ```
/// use protocol::manifest::{RecordDigest, record_digest};
///
/// let mut pieces = RecordDigest::new(5);
/// pieces.update(b"he");
/// pieces.update(b"llo");
/// assert_eq!(pieces.finish(), record_digest(b"hello"));
/// ```
pub fn record_digest(bytes: &[u8]) -> [u8; 32] {
    digest(DOMAIN, &[bytes])
}

const DOMAIN: &str = "openledger/record/1";

/// A [`record_digest`] computed incrementally.
#[derive(Clone, Debug)]
pub struct RecordDigest(blake3::Hasher);

impl RecordDigest {
    /// Starts the digest of a record of exactly `bytes` bytes; the length is hashed first.
    pub fn new(bytes: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        // The length prefix of one part, as in `crypto::digest`.
        hasher.update(&bytes.to_be_bytes());
        Self(hasher)
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of the bytes so far.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
