//! Which of many known records could be alike with one of a few new ones, told one known record at a time: so that the
//! known ones need not be in memory together.
//!
//! It lets through whatever [`super::cluster`] would compare with a new record, and now and then a little more.

use super::{BANDS, Entry};

/// The digests and bands of some records.
#[derive(Clone, Debug)]
pub struct Sieve {
    exact: Vec<[u8; 32]>,
    /// For each band, the keys of all records in order.
    bands: Vec<Vec<(u32, u32)>>,
}

impl Sieve {
    /// A sieve for these records.
    pub fn new<'a>(records: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut sieve = Self {
            exact: Vec::new(),
            bands: vec![Vec::new(); BANDS],
        };
        for entry in records {
            sieve.exact.push(entry.sketch.exact);
            for (band, keys) in sieve.bands.iter_mut().enumerate() {
                keys.extend(key(entry, band));
            }
        }
        sieve.exact.sort_unstable();
        sieve.exact.dedup();
        for keys in &mut sieve.bands {
            keys.sort_unstable();
            keys.dedup();
        }
        sieve
    }

    /// Whether a known record could be alike with one of them.
    pub fn passes(&self, known: &Entry) -> bool {
        let shares = |(band, keys): (usize, &Vec<(u32, u32)>)| {
            key(known, band).is_some_and(|key| keys.binary_search(&key).is_ok())
        };
        self.exact.binary_search(&known.sketch.exact).is_ok() || self.bands.iter().enumerate().any(shares)
    }
}

/// What a record has in a band; nothing if it is only compared exactly.
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
    fn copies_and_near_copies_pass_and_others_do_not() {
        let original = prose(1, 200);
        let (near, short) = (original.replace("w7919 ", "other "), entry("a short record"));
        let sieve = Sieve::new([&entry(&original), &short]);
        assert!(sieve.passes(&entry(&original.to_uppercase())) && sieve.passes(&entry(&near)));
        assert!(sieve.passes(&entry("A  short record")));
        assert!(!sieve.passes(&entry("another short record")));
        let passed = (2..200).filter(|seed| sieve.passes(&entry(&prose(*seed, 200)))).count();
        assert!(passed < 10, "{passed} of 198 strangers");
    }

    #[test]
    fn an_empty_sieve_lets_nothing_through() {
        assert!(!Sieve::new([]).passes(&entry(&prose(1, 200))));
    }
}
