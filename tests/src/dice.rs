//! Pseudo-random numbers from a seed.

/// A pseudo-random sequence (SplitMix64), good enough for choosing faults and not for keys.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed. Different purposes give independent sequences.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let name = blake3::hash(&[&seed.to_be_bytes(), purpose.as_bytes()].concat());
        Self(u64::from_be_bytes(
            name.as_bytes()[..8].try_into().expect("eight of thirty-two bytes"),
        ))
    }

    /// Draws the next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Draws a number from `low` up to and including `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high);
        low + self.draw() % (high - low + 1)
    }

    /// Returns true with probability 1/`n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.draw().is_multiple_of(n)
    }

    /// Returns true with a probability given in thousandths.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.draw() % 1000 < per_mille
    }

    /// Draws one element of a slice.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.draw() % from.len() as u64).expect("an index fits")]
    }
}
