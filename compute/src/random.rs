//! Counter-based random numbers for training: each is a function of a seed, a stream and an index.
//!
//! # Why not a generator with a state
//!
//! A generator's numbers depend on how many were drawn before. Here a record that is left out, or a parameter that is
//! not needed, shifts no other number, and any step of a run can be done again without the steps before it.

#![allow(clippy::cast_possible_truncation, reason = "words are cut out of longer ones")]

/// The purpose that numbers are for. Numbers of different streams of one seed are independent.
///
/// The mapping to counters is part of what makes a run repeatable and must not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The choice of records that are held back for validation.
    Split,
    /// The order of records in an epoch.
    Order(u32),
    /// The initial values of an adapter's parameter, by its index.
    Parameter(u32),
    /// The initial values of a base model's weight, by its index; not those of [`Stream::Parameter`].
    Weight(u32),
}

/// All numbers of one stream of one seed.
///
/// ```
/// use compute::random::{Random, Stream};
///
/// let random = Random::new(7, Stream::Order(0));
/// assert_eq!(random.bits(3), Random::new(7, Stream::Order(0)).bits(3));
/// assert_ne!(random.bits(3), Random::new(7, Stream::Order(1)).bits(3));
/// let mut order = random.order(5);
/// order.sort_unstable();
/// assert_eq!(order, [0, 1, 2, 3, 4]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: [u32; 2],
    stream: [u32; 2],
}

impl Random {
    /// Selects a stream of a seed.
    pub fn new(seed: u64, stream: Stream) -> Self {
        let stream = match stream {
            Stream::Split => [0, 0],
            Stream::Order(epoch) => [1, epoch],
            Stream::Parameter(index) => [2, index],
            Stream::Weight(index) => [3, index],
        };
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            stream,
        }
    }

    /// Returns the 64 random bits at an index.
    pub fn bits(&self, index: u64) -> u64 {
        let block = philox(
            [index as u32, (index >> 32) as u32, self.stream[0], self.stream[1]],
            self.key,
        );
        u64::from(block[0]) | u64::from(block[1]) << 32
    }

    /// Returns a number uniform in `-1..1`, in steps of 2⁻²³ that a single holds exactly.
    pub fn uniform(&self, index: u64) -> f32 {
        (self.bits(index) >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// Returns a number of the standard normal distribution (Box and Muller). Logarithm and cosine are computed in
    /// software, so that the bits are the same everywhere.
    pub fn normal(&self, index: u64) -> f32 {
        let bits = self.bits(index);
        let unit = |bits: u64| (bits as f64 + 0.5) / 4_294_967_296.0;
        let (u, v) = (unit(bits & 0xffff_ffff), unit(bits >> 32));
        (libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)) as f32
    }

    /// Returns the numbers below `count` in a random order.
    pub fn order(&self, count: usize) -> Vec<u32> {
        let count = u32::try_from(count).expect("records are counted in 32 bits");
        // Sorting by a random key, then by the number itself, gives a permutation without a state.
        let mut keyed: Vec<(u64, u32)> = (0..count).map(|i| (self.bits(u64::from(i)), i)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, i)| i).collect()
    }
}

/// Philox 4×32 with ten rounds: Salmon, Moraes, Dror and Shaw, SC 2011.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
    for _ in 0..10 {
        let (low, high) = (product(0xd251_1f53, counter[0]), product(0xcd9e_8d57, counter[2]));
        counter = [
            (high >> 32) as u32 ^ counter[1] ^ key[0],
            high as u32,
            (low >> 32) as u32 ^ counter[3] ^ key[1],
            low as u32,
        ];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_is_the_published_one() {
        // Known answers of Random123.
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    #[test]
    fn an_order_has_every_number_once_and_differs_by_seed_and_epoch() {
        let order = |seed, epoch| Random::new(seed, Stream::Order(epoch)).order(100);
        let mut sorted = order(7, 0);
        assert_ne!(sorted, order(7, 1));
        assert_ne!(sorted, order(8, 0));
        assert_eq!(sorted, order(7, 0));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn uniform_and_normal_numbers_have_their_moments() {
        let random = Random::new(3, Stream::Parameter(5));
        let moments = |numbers: Vec<f64>| {
            let count = numbers.len() as f64;
            let mean = numbers.iter().sum::<f64>() / count;
            (
                mean,
                numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count,
            )
        };
        let (mean, variance) = moments((0..20_000).map(|i| f64::from(random.uniform(i))).collect());
        assert!(
            mean.abs() < 0.02 && (variance - 1.0 / 3.0).abs() < 0.01,
            "{mean} {variance}"
        );
        let (mean, variance) = moments((0..20_000).map(|i| f64::from(random.normal(i))).collect());
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}
