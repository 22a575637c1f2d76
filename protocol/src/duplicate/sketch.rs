//! Sketches: a record's digest and shingle hashes in at most 18 KB, enough to find and verify its duplicates.

use bincode::{Decode, Encode};

use super::{NARROW, NARROW_PPM_MIN, NEAR_TOKENS_MIN, PERMUTATIONS, SHINGLES_MAX, WIDE, WIDE_PPM_MIN, text};
use crate::crypto::digest;

const ONE_PPM: u64 = 1_000_000;

/// The sketch of one record. Any length of record gives a bounded sketch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sketch {
    /// Digest of the normalised text, or of the bytes.
    pub exact: [u8; 32],
    /// Number of tokens.
    pub tokens: u32,
    /// MinHash signature of the wide shingles. Empty if the record is compared exactly only.
    pub minhash: Vec<u32>,
    pub wide: Shingles,
    pub narrow: Shingles,
}

/// A set of shingle hashes in ascending order: the smallest [`SHINGLES_MAX`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Shingles {
    hashes: Vec<u32>,
    /// True if there were more.
    cut: bool,
}

/// The similarity of two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Similarity {
    /// Jaccard index of the wide shingles, in millionths.
    pub wide_ppm: u32,
    /// Jaccard index of the narrow shingles, in millionths.
    pub narrow_ppm: u32,
}

impl Similarity {
    /// The similarity of exact duplicates.
    pub const SAME: Self = Self {
        wide_ppm: 1_000_000,
        narrow_ppm: 1_000_000,
    };

    /// Returns true if records this similar count as duplicates and share one payout.
    pub fn is_duplicate(self) -> bool {
        self.wide_ppm >= WIDE_PPM_MIN && self.narrow_ppm >= NARROW_PPM_MIN
    }
}

impl Sketch {
    /// Computes the sketch of a text, in memory independent of its length.
    pub fn of_text(text: &str) -> Self {
        let mut folded = blake3::Hasher::new_derive_key("openledger/duplicate/text/1");
        let mut pending = [0u8; 4];
        let mut any = false;
        let mut block = Vec::with_capacity(1024);
        for c in text::normalised(text) {
            any = true;
            block.extend_from_slice(c.encode_utf8(&mut pending).as_bytes());
            if block.len() > 1000 && c != ' ' {
                folded.update(&block);
                block.clear();
            }
        }
        // Trailing white space has become one trailing space.
        folded.update(block.trim_ascii_end());

        let mut builder = SketchBuilder::default();
        text::tokens(text, |token| builder.add(token));
        let near = builder.tokens >= NEAR_TOKENS_MIN;
        Self {
            // A text of invisible characters only is compared as bytes.
            exact: match any {
                true => *folded.finalize().as_bytes(),
                false => Self::of_bytes(text.as_bytes()).exact,
            },
            tokens: builder.tokens,
            minhash: if near { builder.minhash } else { Vec::new() },
            wide: if near {
                builder.wide.finish()
            } else {
                Shingles::default()
            },
            narrow: if near {
                builder.narrow.finish()
            } else {
                Shingles::default()
            },
        }
    }

    /// Computes the sketch of binary data, such as an image or a sound.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_digest(digest("openledger/duplicate/bytes/1", &[bytes]))
    }

    /// Returns the sketch of data with a known digest. Two such sketches match if the digests are equal.
    pub fn of_digest(exact: [u8; 32]) -> Self {
        Self {
            exact,
            tokens: 0,
            minhash: Vec::new(),
            wide: Shingles::default(),
            narrow: Shingles::default(),
        }
    }

    /// Returns true if this code could have produced the sketch: lengths in bounds, hashes in order.
    pub fn is_well_formed(&self) -> bool {
        let ordered = |set: &Shingles| {
            let full = if set.cut {
                set.hashes.len() == SHINGLES_MAX
            } else {
                set.hashes.len() <= SHINGLES_MAX
            };
            full && set.hashes.windows(2).all(|pair| pair[0] < pair[1])
        };
        let sizes = if self.tokens >= NEAR_TOKENS_MIN {
            self.minhash.len() == PERMUTATIONS && !self.wide.hashes.is_empty() && !self.narrow.hashes.is_empty()
        } else {
            self.minhash.is_empty() && self.wide.hashes.is_empty() && self.narrow.hashes.is_empty()
        };
        sizes && ordered(&self.wide) && ordered(&self.narrow)
    }

    /// Returns the similarity of two records.
    pub fn similarity(&self, other: &Self) -> Similarity {
        if self.exact == other.exact {
            return Similarity::SAME;
        }
        Similarity {
            wide_ppm: self.wide.jaccard_ppm(&other.wide),
            narrow_ppm: self.narrow.jaccard_ppm(&other.narrow),
        }
    }
}

impl Shingles {
    /// Returns the Jaccard index in millionths, rounded down; zero if both sets are empty. If a set was cut, only the
    /// smallest [`SHINGLES_MAX`] hashes of the union count: a uniform sample, the same on every node.
    fn jaccard_ppm(&self, other: &Self) -> u32 {
        let most = if self.cut || other.cut {
            SHINGLES_MAX
        } else {
            usize::MAX
        };
        let (mut a, mut b) = (self.hashes.as_slice(), other.hashes.as_slice());
        let (mut union, mut both) = (0usize, 0u64);
        while union < most {
            match (a.first(), b.first()) {
                (Some(x), Some(y)) => {
                    both += u64::from(x == y);
                    let (take_a, take_b) = (x <= y, y <= x);
                    a = &a[usize::from(take_a)..];
                    b = &b[usize::from(take_b)..];
                }
                (Some(_), None) => a = &a[1..],
                (None, Some(_)) => b = &b[1..],
                (None, None) => break,
            }
            union += 1;
        }
        let ppm = (both * ONE_PPM).checked_div(union as u64).unwrap_or(0);
        u32::try_from(ppm).expect("a share is at most one million")
    }
}

/// A sketch under construction.
struct SketchBuilder {
    tokens: u32,
    /// Hashes of the last tokens, the newest last.
    last: [u64; WIDE],
    minhash: Vec<u32>,
    wide: Smallest,
    narrow: Smallest,
}

impl Default for SketchBuilder {
    fn default() -> Self {
        Self {
            tokens: 0,
            last: [0; WIDE],
            minhash: vec![u32::MAX; PERMUTATIONS],
            wide: Smallest::default(),
            narrow: Smallest::default(),
        }
    }
}

impl SketchBuilder {
    fn add(&mut self, token: &str) {
        let hash = blake3::hash(token.as_bytes());
        let eight = hash.as_bytes().first_chunk::<8>().expect("thirty-two bytes");
        self.last.rotate_left(1);
        self.last[WIDE - 1] = u64::from_be_bytes(*eight);
        self.tokens = self.tokens.saturating_add(1);
        if self.tokens as usize >= NARROW {
            self.narrow.add(upper_half(shingle(&self.last[WIDE - NARROW..])));
        }
        if self.tokens as usize >= WIDE {
            let wide = shingle(&self.last);
            self.wide.add(upper_half(wide));
            for (least, &(a, b)) in self.minhash.iter_mut().zip(PERMUTATION.iter()) {
                *least = (*least).min(upper_half(a.wrapping_mul(wide).wrapping_add(b)));
            }
        }
    }
}

/// Returns the upper half, which depends on all input bits.
fn upper_half(hash: u64) -> u32 {
    u32::try_from(hash >> 32).expect("half of the bits")
}

/// Returns one hash of tokens in this order, mixed with the finaliser of MurmurHash3.
fn shingle(tokens: &[u64]) -> u64 {
    tokens.iter().fold(0, |hash: u64, token| {
        let mut mixed = hash.rotate_left(23) ^ token;
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    })
}

/// The multiplier and summand of each permutation, taken from BLAKE3 output so that nobody chose them. Multiply-shift
/// hashing is universal, which is what MinHash requires (Dietzfelbinger et al. 1997).
static PERMUTATION: std::sync::LazyLock<[(u64, u64); PERMUTATIONS]> = std::sync::LazyLock::new(|| {
    let mut stream = blake3::Hasher::new_derive_key("openledger/duplicate/minhash/1").finalize_xof();
    let mut next = || {
        let mut eight = [0; 8];
        stream.fill(&mut eight);
        u64::from_be_bytes(eight)
    };
    std::array::from_fn(|_| (next() | 1, next()))
});

/// The smallest distinct values of a stream, in bounded memory.
#[derive(Default)]
struct Smallest {
    kept: Vec<u32>,
    cut: bool,
}

impl Smallest {
    fn add(&mut self, value: u32) {
        self.kept.push(value);
        if self.kept.len() >= 4 * SHINGLES_MAX {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        self.kept.sort_unstable();
        self.kept.dedup();
        self.cut |= self.kept.len() > SHINGLES_MAX;
        self.kept.truncate(SHINGLES_MAX);
    }

    fn finish(mut self) -> Shingles {
        self.shrink();
        self.kept.shrink_to_fit();
        Shingles {
            hashes: self.kept,
            cut: self.cut,
        }
    }
}
