//! Where a record lies and what its digest is, in a row of fixed length, so that the n-th record is found without reading
//! the others.

use crate::crypto::digest;

/// Bytes of one encoded [`RecordRow`].
pub const RECORD_ROW_BYTES: u64 = 56;

/// One record: a stretch of the stream of source files.
///
/// A row of Parquet is no stretch of bytes, so its row names the whole file and `row` says which of its rows is meant;
/// `row` is zero for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordRow {
    /// Where the stretch begins in the stream.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Which row of a Parquet file.
    pub row: u64,
    /// [`record_digest`] of its bytes; of a row of Parquet, of its canonical JSON.
    pub digest: [u8; 32],
}

impl RecordRow {
    /// The row as it is stored: three big-endian numbers and the digest.
    pub fn encode(&self) -> [u8; 56] {
        let mut out = [0; 56];
        out[..8].copy_from_slice(&self.offset.to_be_bytes());
        out[8..16].copy_from_slice(&self.bytes.to_be_bytes());
        out[16..24].copy_from_slice(&self.row.to_be_bytes());
        out[24..].copy_from_slice(&self.digest);
        out
    }

    /// Reads what [`RecordRow::encode`] wrote. Every 56 bytes are a row; whether it points anywhere is checked against
    /// the stream.
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

/// What a record is known by: attribution, payment and comparison of versions all speak of this.
pub fn record_digest(bytes: &[u8]) -> [u8; 32] {
    digest(DOMAIN, &[bytes])
}

const DOMAIN: &str = "openledger/record/1";

/// [`record_digest`] of bytes that come piece by piece.
#[derive(Clone, Debug)]
pub struct RecordDigest(blake3::Hasher);

impl RecordDigest {
    /// The digest of a record of this many bytes.
    pub fn new(bytes: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        // One part under a domain, as in `crypto::digest`.
        hasher.update(&bytes.to_be_bytes());
        Self(hasher)
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
