//! Encoding of a file's header and of a record's frame. Invalid bytes decode to `None`.

use super::PAYLOAD_BYTES_MAX;

pub(super) const FRAME: usize = 28;
pub(super) const HEADER: usize = 40;
const MAGIC: &[u8; 8] = b"oljrnl01";

/// The header of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Distinguishes uses of a file, for example by height.
    pub(crate) tag: u64,
    /// Sequence number of the first record.
    pub(crate) first: u64,
    pub(crate) nonce: u64,
    pub(crate) flags: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
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

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let holds = &bytes[..8] == MAGIC && crc32fast::hash(&bytes[..36]) == u32_at(bytes, 36);
        holds.then(|| Self {
            tag: u64_at(bytes, 8),
            first: u64_at(bytes, 16),
            nonce: u64_at(bytes, 24),
            flags: u32_at(bytes, 32),
        })
    }
}

/// The header of one record.
pub(super) struct Frame {
    pub(super) len: u32,
    pub(super) payload_crc: u32,
    pub(super) sequence: u64,
    pub(super) synced: u64,
}

impl Frame {
    pub(super) fn of(payload: &[u8], sequence: u64, synced: u64) -> Self {
        let len = u32::try_from(payload.len()).expect("payloads are limited");
        Self {
            len,
            payload_crc: crc32fast::hash(payload),
            sequence,
            synced,
        }
    }

    pub(super) fn encode(&self, header: &Header) -> [u8; FRAME] {
        let mut bytes = [0; FRAME];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced.to_le_bytes());
        let crc = frame_crc(header, &bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8], header: &Header) -> Option<Self> {
        if bytes.len() < FRAME {
            return None;
        }
        let frame = Self {
            len: u32_at(bytes, 0),
            payload_crc: u32_at(bytes, 4),
            sequence: u64_at(bytes, 8),
            synced: u64_at(bytes, 16),
        };
        // Cheap tests first: a search tries this at every byte.
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
