//! Exact and near duplicates among records, so that a copy earns nothing beside its original.
//!
//! A record becomes a [`Sketch`] of bounded size. [`cluster`] groups similar records and names the canonical one of each
//! group: the earliest committed. Everything is integers and fixed constants, so every node finds the same groups in the
//! same records, in whatever order they come.
//!
//! Two records are compared in two steps:
//! 1. **Exactly**, by the digest of their normalised text ([`text`]). Case, spacing, width and composition of letters are
//!    ignored, punctuation is not. This is the only step for records under [`NEAR_TOKENS_MIN`] tokens, where one other word
//!    can be another fact, and for images and sounds, whose bytes are compared.
//! 2. **Nearly**: MinHash over shingles of [`WIDE`] tokens, [`PERMUTATIONS`] permutations in [`BANDS`] bands, gives
//!    candidates; each is verified on the shingle sets themselves, twice. The wide shingles must have a Jaccard index of
//!    [`WIDE_PPM_MIN`], the narrow ones, pairs of tokens, of [`NARROW_PPM_MIN`].
//!
//! # Why not one shingle size
//!
//! Changing every tenth word leaves 0.9⁵ = 59 % of the wide shingles, an index of 0.42, or 0.33 if the changed words are
//! spread as evenly as possible. Two texts of which 59 % is the same licence header have the same index. Pairs of tokens
//! tell them apart: a copy with noise keeps 81 % of its pairs (index 0.68; 0.67 at worst), a shared header 59 % (0.42). So a
//! copy is found with up to one word in seven changed, and records that share less than about 70 % of their text stay apart.
//! Bands of two rows pass a pair of index 0.33 with probability 1 − (1 − 0.33²)⁶⁴ = 0.9995; verification rejects the rest.
//!
//! # Limits
//!
//! Translations, paraphrases, letters replaced by look-alikes of another script, and a record copied into a much longer one
//! are not found. Two records from one template count as duplicates if the template is most of the text.

mod candidate_filter;
mod cluster;
mod index;

mod sketch;
#[cfg(test)]
mod tests;
pub mod text;

pub use candidate_filter::CandidateFilter;
pub use cluster::{Cluster, Member, Report, cluster};
pub use index::{ENTRY_MAX, Entry, Index, IndexError};
pub use sketch::{Similarity, Sketch};

/// Tokens in a wide shingle.
pub const WIDE: usize = 5;
/// Tokens in a narrow shingle.
pub const NARROW: usize = 2;
/// Number of values in a MinHash signature.
pub const PERMUTATIONS: usize = 128;
/// Bands of a signature, of two values each.
pub const BANDS: usize = PERMUTATIONS / 2;
/// Records with fewer tokens are compared exactly only.
pub const NEAR_TOKENS_MIN: u32 = 50;
/// Most shingles kept of each size: those with the smallest hashes. Up to that many the Jaccard index is exact;
/// beyond, it is that of a uniform sample, with a standard error of at most 1.2 points.
pub const SHINGLES_MAX: usize = 2048;
/// Least Jaccard index of wide shingles, in millionths.
pub const WIDE_PPM_MIN: u32 = 300_000;
/// Least Jaccard index of narrow shingles, in millionths.
pub const NARROW_PPM_MIN: u32 = 550_000;
