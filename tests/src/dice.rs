//! Numbers that a seed decides.

/// A sequence of numbers: SplitMix64, which is plenty for choosing what goes wrong.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed, apart from others with the same seed and another purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let name = blake3::hash(&[&seed.to_be_bytes(), purpose.as_bytes()].concat());
        Self(u64::from_be_bytes(
            name.as_bytes()[..8].try_into().expect("eight of thirty-two bytes"),
        ))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` up to and including `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high);
        low + self.draw() % (high - low + 1)
    }

    /// Whether one in `n` comes up.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.draw().is_multiple_of(n)
    }

    /// Whether it comes up with this chance in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.draw() % 1000 < per_mille
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.draw() % from.len() as u64).expect("an index fits")]
    }
}
