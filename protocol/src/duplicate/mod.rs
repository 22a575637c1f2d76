//! Which records say the same: exact and near duplicates, so that a copy earns nothing beside its original.
//!
//! A record becomes a [`Sketch`] of bounded size; [`cluster`] finds the records that are alike and names the canonical one
//! of each group, the earliest committed. All of it is integers and fixed constants: whoever has the same records finds the
//! same groups, in whatever order they came.
//!
//! How two records are judged:
//! 1. **Exactly**, by the digest of their normalised text ([`text`]): case, spacing, width and composition of letters do
//!    not count, punctuation does. This is all there is for records under [`NEAR_TOKENS_MIN`] tokens, where one other word
//!    can be another fact, and for pictures and sounds, whose bytes are compared.
//! 2. **Nearly**: candidates come from MinHash over shingles of [`WIDE`] tokens, [`PERMUTATIONS`] permutations in
//!    [`BANDS`] bands; each candidate is verified on the shingle sets themselves, twice. The wide shingles must have a
//!    Jaccard index of [`WIDE_PPM_MIN`], the narrow ones, pairs of tokens, of [`NARROW_PPM_MIN`].
//!
//! Why two sizes. Changing every tenth word leaves 0.9⁵ = 59 % of the wide shingles, an index of 0.42, or 0.33 if the
//! changed words are spread as evenly as possible. Two texts of which 59 % is the same licence header have the same index.
//! Pairs tell them apart: a noised copy keeps 81 % of its pairs (index 0.68; 0.67 at worst), a shared header 59 % (0.42).
//! So a copy is found up to one word in seven changed, and records that share less than about 70 % of their text stay apart.
//! Bands of two rows let a pair of index 0.33 through with probability 1 − (1 − 0.33²)⁶⁴ = 0.9995; verification throws out
//! what else comes through.
//!
//! What this does not see: translations, paraphrases, letters replaced by look-alikes of another script, and a record
//! copied into a much longer one. What fills in one template twice is alike when the template is most of the text.

mod cluster;
mod index;
mod sieve;
mod sketch;
#[cfg(test)]
mod tests;
pub mod text;

pub use cluster::{Cluster, Member, Report, cluster};
pub use index::{ENTRY_MAX, Entry, Index, IndexError};
pub use sieve::Sieve;
pub use sketch::{Likeness, Sketch};

/// Tokens of a wide shingle.
pub const WIDE: usize = 5;
/// Tokens of a narrow shingle.
pub const NARROW: usize = 2;
/// Permutations of a MinHash signature.
pub const PERMUTATIONS: usize = 128;
/// Bands that a signature is cut into, of two values each.
pub const BANDS: usize = PERMUTATIONS / 2;
/// Records with fewer tokens are compared exactly only.
pub const NEAR_TOKENS_MIN: u32 = 50;
/// Shingles that are kept of each size: the smallest hashes. Up to that many the Jaccard index is exact, beyond it is
/// that of a uniform sample, with a standard error of at most 1.2 points.
pub const SHINGLES_MAX: usize = 2048;
/// Least Jaccard index of wide shingles, in millionths.
pub const WIDE_PPM_MIN: u32 = 300_000;
/// Least Jaccard index of narrow shingles, in millionths.
pub const NARROW_PPM_MIN: u32 = 550_000;
