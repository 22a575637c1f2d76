//! Frames: sealing and opening a shard that is larger than memory, or one frame in its middle.

use std::ops::Range;

use chacha20poly1305::{AeadInPlace, KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{EpochKey, HEADER, Header};

/// Bytes of plain text in a frame; the last one may have fewer, and only an empty shard has an empty one.
pub const FRAME: usize = 64 << 10;
const TAG: usize = 16;
/// Bytes of a frame when sealed.
pub const SEALED_FRAME: usize = FRAME + TAG;

/// Why sealed bytes do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A frame was changed, moved, repeated or sealed under another key or header.
    #[error("frame {frame} does not open: it was changed or moved, or the key is another one")]
    Frame {
        /// Which, from 0.
        frame: u32,
    },
    /// The end is missing, or something follows it.
    #[error("the shard is cut off or continued behind frame {frame}")]
    Length {
        /// The last frame that there is.
        frame: u32,
    },
}

/// How many bytes a shard of `plain` bytes has when sealed.
pub const fn sealed_len(plain: u64) -> u64 {
    HEADER as u64 + plain + frames(plain) * TAG as u64
}

const fn frames(plain: u64) -> u64 {
    let frames = plain.div_ceil(FRAME as u64);
    if frames == 0 { 1 } else { frames }
}

/// How many bytes of plain text a sealed shard of `sealed` bytes holds, if any shard has that length.
pub fn plain_len(sealed: u64) -> Option<u64> {
    let body = sealed.checked_sub(HEADER as u64)?;
    let plain = body.checked_sub(body.div_ceil(SEALED_FRAME as u64) * TAG as u64)?;
    (sealed_len(plain) == sealed).then_some(plain)
}

/// Where frame `frame` of a sealed shard of `sealed` bytes lies, and whether it is the last.
pub fn frame_at(sealed: u64, frame: u32) -> Option<(Range<u64>, bool)> {
    let count = frames(plain_len(sealed)?);
    let (start, last) = (
        HEADER as u64 + u64::from(frame) * SEALED_FRAME as u64,
        u64::from(frame) + 1 == count,
    );
    let end = if last { sealed } else { start + SEALED_FRAME as u64 };
    (u64::from(frame) < count).then_some((start..end, last))
}

/// The cipher of one shard.
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

    /// `prefix ‖ frame, big-endian ‖ last?`: the STREAM construction.
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

/// Seals one shard, as much at a time as its reader has.
pub struct Sealer {
    cipher: Cipher,
    frame: u32,
    held: Zeroizing<Vec<u8>>,
}

impl Sealer {
    /// Begins a shard: its header goes to `out`.
    pub fn new(key: &EpochKey, header: &Header, out: &mut Vec<u8>) -> Self {
        out.extend(header.to_bytes());
        Self {
            cipher: Cipher::new(key, header),
            frame: 0,
            held: Zeroizing::new(Vec::with_capacity(FRAME)),
        }
    }

    /// Takes plain text, and puts every frame that is surely not the last into `out`.
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

    /// Puts the last frame into `out`. Without it the shard does not open.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.emit(true, out);
    }

    /// The whole of a shard that is in memory.
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

/// Opens one shard whose header was read already.
pub struct Opener {
    cipher: Cipher,
    frame: u32,
    held: Vec<u8>,
}

impl Opener {
    /// Begins behind the header.
    pub fn new(key: &EpochKey, header: &Header) -> Self {
        Self {
            cipher: Cipher::new(key, header),
            frame: 0,
            held: Vec::with_capacity(SEALED_FRAME),
        }
    }

    /// Takes sealed bytes, and puts the plain text of each frame that verified into `out`. After an error nothing more of
    /// this shard is to be believed; what came out before is a true beginning of it.
    pub fn push(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        while !sealed.is_empty() {
            // Whatever follows a whole frame shows that the frame was not the last.
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

    /// Opens the last frame. Until this has succeeded the end of the shard may be missing.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), OpenError> {
        let whole = self.held.len() > TAG || (self.frame == 0 && self.held.len() == TAG);
        if !whole {
            return Err(OpenError::Length { frame: self.frame });
        }
        self.open(self.frame, true, &self.held, out)
            .map_err(|_| OpenError::Length { frame: self.frame })
    }

    /// Opens one frame of the middle, which lies where [`frame_at`] says.
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
            // Nothing unverified leaves, not even as garbage.
            out.truncate(start);
            OpenError::Frame { frame }
        })
    }
}

/// The plain text of a sealed shard that is in memory.
pub fn open(key: &EpochKey, shard: &[u8]) -> Result<Vec<u8>, OpenShardError> {
    let header = Header::read(shard)?;
    let (mut opener, mut out) = (Opener::new(key, &header), Vec::with_capacity(shard.len()));
    opener.push(&shard[HEADER..], &mut out)?;
    opener.finish(&mut out)?;
    Ok(out)
}

/// Why a sealed shard does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenShardError {
    /// It begins with something else.
    #[error("could not read the header of the shard")]
    Header(#[from] super::HeaderError),
    /// A frame is wrong.
    #[error("could not open the shard")]
    Frames(#[from] OpenError),
}
