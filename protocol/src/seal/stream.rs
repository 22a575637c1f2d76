//! Sealing and opening in frames: a shard larger than memory, or one frame in its middle.

use std::ops::Range;

use chacha20poly1305::{AeadInPlace, KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{EpochKey, HEADER, Header};

/// Plaintext bytes in a frame. The last frame may have fewer; only an empty shard has an empty frame.
pub const FRAME: usize = 64 << 10;
const TAG: usize = 16;
/// Bytes of a sealed frame.
pub const SEALED_FRAME: usize = FRAME + TAG;

/// The reason that a frame does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Modified, moved or repeated, or sealed under another key or header.
    #[error("frame {frame} does not open: it was changed or moved, or the key is another one")]
    Frame { frame: u32 },
    /// The end is missing, or data follows it.
    #[error("the shard is cut off or continued behind frame {frame}")]
    Length { frame: u32 },
}

/// Returns the sealed size of a shard of `plain` bytes.
pub const fn sealed_len(plain: u64) -> u64 {
    HEADER as u64 + plain + frames(plain) * TAG as u64
}

const fn frames(plain: u64) -> u64 {
    let frames = plain.div_ceil(FRAME as u64);
    if frames == 0 { 1 } else { frames }
}

/// Returns the plaintext size of a sealed shard of `sealed` bytes, or `None` if no shard has that size.
pub fn plain_len(sealed: u64) -> Option<u64> {
    let body = sealed.checked_sub(HEADER as u64)?;
    let plain = body.checked_sub(body.div_ceil(SEALED_FRAME as u64) * TAG as u64)?;
    (sealed_len(plain) == sealed).then_some(plain)
}

/// Returns the byte range of a frame in a sealed shard of `sealed` bytes, and true if it is the last frame.
pub fn frame_at(sealed: u64, frame: u32) -> Option<(Range<u64>, bool)> {
    let count = frames(plain_len(sealed)?);
    let (start, last) = (
        HEADER as u64 + u64::from(frame) * SEALED_FRAME as u64,
        u64::from(frame) + 1 == count,
    );
    let end = if last { sealed } else { start + SEALED_FRAME as u64 };
    (u64::from(frame) < count).then_some((start..end, last))
}

/// The cipher of one shard: its key, and the nonce prefix.
struct Cipher {
    cipher: XChaCha20Poly1305,
    prefix: [u8; 19],
}

impl Cipher {
    fn new(key: &EpochKey, header: &Header) -> Self {
        let shard_key = crate::crypto::digest("openledger/seal/shard/1", &[&key.0, &header.to_bytes()]);
        Self {
            cipher: XChaCha20Poly1305::new((&*Zeroizing::new(shard_key)).into()),
            prefix: header.prefix,
        }
    }

    /// Returns `prefix ‖ frame, big-endian ‖ last?`, as in the STREAM construction.
    fn nonce(&self, frame: u32, last: bool) -> XNonce {
        let mut nonce = [0; 24];
        nonce[..19].copy_from_slice(&self.prefix);
        nonce[19..23].copy_from_slice(&frame.to_be_bytes());
        nonce[23] = u8::from(last);
        nonce.into()
    }
}

fn next(frame: u32) -> u32 {
    frame
        .checked_add(1)
        .expect("a shard has fewer than 2^32 frames of 64 KiB")
}

/// Seals one shard incrementally.
///
/// ```
/// use protocol::DatanetId;
/// use protocol::seal::{EpochKey, Header, KeyEpoch, Sealer, open};
///
/// let key = EpochKey([1; 32]);
/// let header = Header { datanet: DatanetId([2; 32]), epoch: KeyEpoch(0), prefix: [3; 19] };
/// let sealed = Sealer::seal(&key, &header, b"secret");
/// assert_eq!(open(&key, &sealed).unwrap(), b"secret");
/// assert!(open(&EpochKey([9; 32]), &sealed).is_err());
/// ```
pub struct Sealer {
    cipher: Cipher,
    frame: u32,
    held: Zeroizing<Vec<u8>>,
}

impl Sealer {
    /// Starts a shard and appends its header to `out`.
    pub fn new(key: &EpochKey, header: &Header, out: &mut Vec<u8>) -> Self {
        out.extend(header.to_bytes());
        Self {
            cipher: Cipher::new(key, header),
            frame: 0,
            held: Zeroizing::new(Vec::with_capacity(FRAME)),
        }
    }

    /// Adds plaintext, and appends each frame that cannot be the last to `out`.
    pub fn push(&mut self, mut plain: &[u8], out: &mut Vec<u8>) {
        while !plain.is_empty() {
            if self.held.len() == FRAME {
                self.emit(false, out);
            }
            let (now, later) = plain.split_at(plain.len().min(FRAME - self.held.len()));
            self.held.extend_from_slice(now);
            plain = later;
        }
        assert!(self.held.len() <= FRAME);
    }

    /// Appends the last frame to `out`. Without it the shard does not open.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.emit(true, out);
    }

    /// Seals a shard in memory.
    pub fn seal(key: &EpochKey, header: &Header, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(usize::try_from(sealed_len(plain.len() as u64)).unwrap_or_default());
        let mut sealer = Self::new(key, header, &mut out);
        sealer.push(plain, &mut out);
        sealer.finish(&mut out);
        out
    }

    fn emit(&mut self, last: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.held);
        self.held.clear();
        let nonce = self.cipher.nonce(self.frame, last);
        let tag = self
            .cipher
            .cipher
            .encrypt_in_place_detached(&nonce, &[], &mut out[start..]);
        out.extend(tag.expect("a frame is within the cipher's limit"));
        if !last {
            self.frame = next(self.frame);
        }
    }
}

/// Opens one shard incrementally, after its header has been read.
pub struct Opener {
    cipher: Cipher,
    frame: u32,
    held: Vec<u8>,
}

impl Opener {
    /// Starts after the header.
    pub fn new(key: &EpochKey, header: &Header) -> Self {
        Self {
            cipher: Cipher::new(key, header),
            frame: 0,
            held: Vec::with_capacity(SEALED_FRAME),
        }
    }

    /// Adds sealed bytes, and appends the plaintext of each verified frame to `out`. After an error the rest of the
    /// shard must be discarded; the plaintext before it is authentic.
    pub fn push(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        while !sealed.is_empty() {
            // More data after a full frame shows that it is not the last.
            if self.held.len() == SEALED_FRAME {
                let frame = std::mem::take(&mut self.held);
                self.open(self.frame, false, &frame, out)?;
                self.held = frame;
                self.held.clear();
                self.frame = next(self.frame);
            }
            let (now, later) = sealed.split_at(sealed.len().min(SEALED_FRAME - self.held.len()));
            self.held.extend_from_slice(now);
            sealed = later;
        }
        Ok(())
    }

    /// Opens the last frame. Until this succeeds, the end of the shard may be missing.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), OpenError> {
        let whole = self.held.len() > TAG || (self.frame == 0 && self.held.len() == TAG);
        if !whole {
            return Err(OpenError::Length { frame: self.frame });
        }
        self.open(self.frame, true, &self.held, out)
            .map_err(|_| OpenError::Length { frame: self.frame })
    }

    /// Opens one frame out of order; [`frame_at`] gives its position.
    pub fn open(&self, frame: u32, last: bool, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let (text, tag) = sealed
            .split_last_chunk::<TAG>()
            .filter(|(text, _)| text.len() <= FRAME)
            .ok_or(OpenError::Frame { frame })?;
        let start = out.len();
        out.extend_from_slice(text);
        let nonce = self.cipher.nonce(frame, last);
        let opened = self
            .cipher
            .cipher
            .decrypt_in_place_detached(&nonce, &[], &mut out[start..], tag.into());
        opened.map_err(|_| {
            // Remove the unverified plaintext.
            out.truncate(start);
            OpenError::Frame { frame }
        })
    }
}

/// Opens a sealed shard in memory.
pub fn open(key: &EpochKey, shard: &[u8]) -> Result<Vec<u8>, OpenShardError> {
    let header = Header::read(shard)?;
    let (mut opener, mut out) = (Opener::new(key, &header), Vec::with_capacity(shard.len()));
    opener.push(&shard[HEADER..], &mut out)?;
    opener.finish(&mut out)?;
    Ok(out)
}

/// The reason that a sealed shard does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenShardError {
    #[error("could not read the header of the shard")]
    Header(#[from] super::HeaderError),
    #[error("could not open the shard")]
    Frames(#[from] OpenError),
}
