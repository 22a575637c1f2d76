//! A record in at most 18 KB: enough to find what it is like, and to verify it.

use bincode::{Decode, Encode};

use super::{NARROW, NARROW_PPM_MIN, NEAR_TOKENS_MIN, PERMUTATIONS, SHINGLES_MAX, WIDE, WIDE_PPM_MIN, text};
use crate::crypto::digest;

const ONE_PPM: u64 = 1_000_000;

/// What is kept of a record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sketch {
    /// The digest of what counts in it.
    pub exact: [u8; 32],
    /// Its tokens.
    pub tokens: u32,
    /// The MinHash of its wide shingles; empty when it is only compared exactly.
    pub minhash: Vec<u32>,
    /// Its wide shingles.
    pub wide: Shingles,
    /// Its narrow shingles.
    pub narrow: Shingles,
}

/// A set of shingles: their hashes in order, the smallest [`SHINGLES_MAX`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Shingles {
    hashes: Vec<u32>,
    /// Whether there were more.
    cut: bool,
}

/// How alike two records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Likeness {
    /// The Jaccard index of their wide shingles, in millionths.
    pub wide_ppm: u32,
    /// The Jaccard index of their narrow shingles, in millionths.
    pub narrow_ppm: u32,
}

impl Likeness {
    /// The same in every way that counts.
    pub const SAME: Self = Self {
        wide_ppm: 1_000_000,
        narrow_ppm: 1_000_000,
    };

    /// Whether two records that are this alike share one payout.
    pub fn is_duplicate(self) -> bool {
        self.wide_ppm >= WIDE_PPM_MIN && self.narrow_ppm >= NARROW_PPM_MIN
    }
}

impl Sketch {
    /// The sketch of a text, in memory that its length does not change.
    pub fn of_text(text: &str) -> Self {
        let mut folded = blake3::Hasher::new_derive_key("openledger/duplicate/text/1");
        let mut pending = [0u8; 4];
        let mut any = false;
        let mut block = Vec::with_capacity(1024);
        for c in text::folded(text) {
            any = true;
            block.extend_from_slice(c.encode_utf8(&mut pending).as_bytes());
            if block.len() > 1000 && c != ' ' {
                folded.update(&block);
                block.clear();
            }
        }
        // A trailing space is left of trailing white space.
        folded.update(block.trim_ascii_end());

        let mut gather = Gather::default();
        text::tokens(text, |token| gather.add(token));
        let near = gather.tokens >= NEAR_TOKENS_MIN;
        Self {
            // A text of nothing but invisible characters is compared as it is.
            exact: match any {
                true => *folded.finalize().as_bytes(),
                false => Self::of_bytes(text.as_bytes()).exact,
            },
            tokens: gather.tokens,
            minhash: if near { gather.minhash } else { Vec::new() },
            wide: if near {
                gather.wide.finish()
            } else {
                Shingles::default()
            },
            narrow: if near {
                gather.narrow.finish()
            } else {
                Shingles::default()
            },
        }
    }

    /// The sketch of bytes that are no text: a picture, a sound.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_digest(digest("openledger/duplicate/bytes/1", &[bytes]))
    }

    /// The sketch of bytes whose digest is known; two of them are alike when the digests are equal.
    pub fn of_digest(exact: [u8; 32]) -> Self {
        Self {
            exact,
            tokens: 0,
            minhash: Vec::new(),
            wide: Shingles::default(),
            narrow: Shingles::default(),
        }
    }

    /// Whether the sketch could have been made here: lengths within bounds, hashes in order.
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

    /// How alike two records are, by the shingles themselves.
    pub fn likeness(&self, other: &Self) -> Likeness {
        if self.exact == other.exact {
            return Likeness::SAME;
        }
        Likeness {
            wide_ppm: self.wide.jaccard_ppm(&other.wide),
            narrow_ppm: self.narrow.jaccard_ppm(&other.narrow),
        }
    }
}

impl Shingles {
    /// The share of the union that both have, rounded down; zero where there is nothing to compare. Where shingles were
    /// cut, the union is the smallest [`SHINGLES_MAX`] of it: a uniform sample, the same for everyone.
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

/// A sketch in the making.
struct Gather {
    tokens: u32,
    /// Hashes of the last tokens, the newest last.
    last: [u64; WIDE],
    minhash: Vec<u32>,
    wide: Smallest,
    narrow: Smallest,
}

impl Default for Gather {
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

impl Gather {
    fn add(&mut self, token: &str) {
        let hash = blake3::hash(token.as_bytes());
        let eight = hash.as_bytes().first_chunk::<8>().expect("thirty-two bytes");
        self.last.rotate_left(1);
        self.last[WIDE - 1] = u64::from_be_bytes(*eight);
        self.tokens = self.tokens.saturating_add(1);
        if self.tokens as usize >= NARROW {
            self.narrow.add(short(shingle(&self.last[WIDE - NARROW..])));
        }
        if self.tokens as usize >= WIDE {
            let wide = shingle(&self.last);
            self.wide.add(short(wide));
            for (least, &(a, b)) in self.minhash.iter_mut().zip(PERMUTATION.iter()) {
                *least = (*least).min(short(a.wrapping_mul(wide).wrapping_add(b)));
            }
        }
    }
}

/// The upper half, whose bits all others have gone into.
fn short(hash: u64) -> u32 {
    u32::try_from(hash >> 32).expect("half of the bits")
}

/// One hash for tokens in this order (the finaliser of MurmurHash3 between them).
fn shingle(tokens: &[u64]) -> u64 {
    tokens.iter().fold(0, |hash: u64, token| {
        let mut mixed = hash.rotate_left(23) ^ token;
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    })
}

/// The multiplier and the summand of each permutation, from BLAKE3 so that nobody chose them. Multiply-shift hashing is
/// universal, which is what MinHash asks for (Dietzfelbinger et al. 1997).
static PERMUTATION: std::sync::LazyLock<[(u64, u64); PERMUTATIONS]> = std::sync::LazyLock::new(|| {
    let mut stream = blake3::Hasher::new_derive_key("openledger/duplicate/minhash/1").finalize_xof();
    let mut next = || {
        let mut eight = [0; 8];
        stream.fill(&mut eight);
        u64::from_be_bytes(eight)
    };
    std::array::from_fn(|_| (next() | 1, next()))
});

/// The smallest different values of a stream, in bounded memory.
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
