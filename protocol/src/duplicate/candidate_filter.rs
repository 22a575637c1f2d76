//! A filter for known records that may duplicate one of a few new ones, applied to one known record at a time, so that
//! the known ones need not fit into memory.
//!
//! Passes every record that [`super::cluster`] would compare with a new one, and rarely a few more.

use super::{BANDS, Entry};

/// The digests and band keys of the new records.
#[derive(Clone, Debug)]
pub struct CandidateFilter {
    exact: Vec<[u8; 32]>,
    /// For each band, the sorted keys of all records.
    bands: Vec<Vec<(u32, u32)>>,
}

impl CandidateFilter {
    /// Builds the filter from the new records.
    pub fn new<'a>(records: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut filter = Self {
            exact: Vec::new(),
            bands: vec![Vec::new(); BANDS],
        };
        for entry in records {
            filter.exact.push(entry.sketch.exact);
            for (band, keys) in filter.bands.iter_mut().enumerate() {
                keys.extend(key(entry, band));
            }
        }
        filter.exact.sort_unstable();
        filter.exact.dedup();
        for keys in &mut filter.bands {
            keys.sort_unstable();
            keys.dedup();
        }
        filter
    }

    /// Returns true if `known` may duplicate one of the new records.
    pub fn passes(&self, known: &Entry) -> bool {
        let shares = |(band, keys): (usize, &Vec<(u32, u32)>)| {
            key(known, band).is_some_and(|key| keys.binary_search(&key).is_ok())
        };
        self.exact.binary_search(&known.sketch.exact).is_ok() || self.bands.iter().enumerate().any(shares)
    }
}

/// Returns the record's key in a band, or `None` if it is compared exactly only.
fn key(entry: &Entry, band: usize) -> Option<(u32, u32)> {
    let minhash = &entry.sketch.minhash;
    Some((*minhash.get(2 * band)?, *minhash.get(2 * band + 1)?))
}

#[cfg(test)]
mod tests {
    use super::{super::Sketch, *};

    fn entry(text: &str) -> Entry {
        Entry {
            record: *blake3::hash(text.as_bytes()).as_bytes(),
            committed: 0,
            sketch: Sketch::of_text(text),
        }
    }

    fn prose(seed: u64, words: u64) -> String {
        let word = |n: u64| format!("w{} ", (n.wrapping_mul(7919) ^ seed.wrapping_mul(104_729)) % 5003);
        (0..words).map(word).collect()
    }

    #[test]
    fn copies_and_near_copies_pass_and_other_records_do_not() {
        let original = prose(1, 200);
        let (near, short) = (original.replace("w7919 ", "other "), entry("a short record"));
        let filter = CandidateFilter::new([&entry(&original), &short]);
        assert!(filter.passes(&entry(&original.to_uppercase())) && filter.passes(&entry(&near)));
        assert!(filter.passes(&entry("A  short record")));
        assert!(!filter.passes(&entry("another short record")));
        let passed = (2..200)
            .filter(|seed| filter.passes(&entry(&prose(*seed, 200))))
            .count();
        assert!(passed < 10, "{passed} of 198 other records");
    }

    #[test]
    fn an_empty_filter_passes_nothing() {
        assert!(!CandidateFilter::new([]).passes(&entry(&prose(1, 200))));
    }
}
