//! Exponentials and sums with the same bits on every machine: IEEE operations in a fixed order, no libm.

const LANES: usize = 8;
/// e to the power `x`, for `x` of at most 0; 0 below -87. Within 2 units in the last position.
/// e to the `x`, for `x` of at most 0; below -87 it is 0. Within 2 units in the last position.
///
/// Cephes `expf`: 2^n times a polynomial on half an octave around 0. The constants are ln 2 in two parts and minimax
/// coefficients.
pub(super) fn exp(x: f32) -> f32 {
    if x < -87.0 || x.is_nan() {
        return 0.0;
    }
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4f32;
    for term in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * r + term;
    }
    let small = sum * r * r + r + 1.0;
    #[allow(clippy::cast_possible_truncation, reason = "n is whole and between -126 and 0")]
    let scale = f32::from_bits(((n as i32 + 127) as u32) << 23);
    small * scale
}

/// The sum, in eight lanes that are then added from left to right.
pub(super) fn sum(values: impl ExactSizeIterator<Item = f32>) -> f64 {
    let mut lanes = [0f64; LANES];
    for (at, value) in values.enumerate() {
        lanes[at % LANES] += f64::from(value);
    }
    lanes.iter().sum()
}

/// The largest number; minus infinity if there is none. NaN is ignored.
pub(super) fn largest(logits: &[f32]) -> f32 {
    // In lanes, because a chain of comparisons waits for itself. A NaN never compares larger.
    const WIDE: usize = 64;
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = logits.as_chunks::<WIDE>();
    let mut lanes = [f32::NEG_INFINITY; WIDE];
    for block in blocks {
        lanes = std::array::from_fn(|lane| larger(lanes[lane], block[lane]));
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// The logarithm of the sum of the exponentials, computed relative to the largest logit.
pub(super) fn log_sum_exp(logits: &[f32]) -> f32 {
    let top = largest(logits);
    if !top.is_finite() {
        return 0.0;
    }
    let total = sum(logits.iter().map(|logit| exp(logit - top)));
    #[allow(clippy::cast_possible_truncation, reason = "a logarithm of at most a vocabulary")]
    let total = total.ln() as f32;
    top + total
}
