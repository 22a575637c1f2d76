//! Exponentials, norms and softmax over rows, in a fixed order of sums.

#![allow(unsafe_code, reason = "generic over the lanes, whose loads take pointers")]

use super::{
    level::kernel,
    simd::{LANES, Simd},
};

/// Computes `e` to the power of each lane within two units in the last place. Arguments are clamped to -87.3 and 88.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: works on lanes only.
    unsafe {
        let x = S::max(S::min(x, S::splat(88.0)), S::splat(-87.3));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        // Cody and Waite: ln 2 as a part with trailing zeros plus the rest.
        let r = S::fma(n, S::splat(-0.693_359_4), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        // Coefficients of Cephes' expf.
        let mut p = S::splat(1.987_569_1e-4);
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = S::fma(p, r, S::splat(c));
        }
        let p = S::add(S::fma(p, S::mul(r, r), r), S::splat(1.0));
        S::mul(p, S::exp2_whole(n))
    }
}

kernel!(
    /// Sets `to = x / rms(x) · gain`.
    pub fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32, to: &mut [f32]) = rms_norm_body);
kernel!(
    /// Sets `gate = silu(gate) · up`.
    pub fn silu_times(gate: &mut [f32], up: &[f32]) = silu_times_body);
kernel!(
    /// Turns scores, multiplied by `scale`, into weights that sum to one.
    pub(crate) fn softmax(scores: &mut [f32], scale: f32) = softmax_body);

/// Calls `f` for each sixteen elements of a slice with their index and number; the last ones are padded with zeros.
#[inline(always)]
pub(super) unsafe fn vectors<S: Simd>(x: &[f32], mut f: impl FnMut(usize, S::V, usize)) {
    let (chunks, rest) = x.as_chunks::<LANES>();
    // SAFETY: each load has its sixteen elements.
    unsafe {
        for (index, chunk) in chunks.iter().enumerate() {
            f(index * LANES, S::load(chunk.as_ptr()), LANES);
        }
        if !rest.is_empty() {
            let mut padded = [0.0; LANES];
            padded[..rest.len()].copy_from_slice(rest);
            f(chunks.len() * LANES, S::load(padded.as_ptr()), rest.len());
        }
    }
}

#[inline(always)]
pub(super) unsafe fn put<S: Simd>(to: &mut [f32], at: usize, count: usize, v: S::V) {
    // SAFETY: sixteen elements are there, or are put on the stack first.
    unsafe {
        if count == LANES {
            S::store(to[at..at + LANES].as_mut_ptr(), v);
        } else {
            let mut padded = [0.0; LANES];
            S::store(padded.as_mut_ptr(), v);
            to[at..at + count].copy_from_slice(&padded[..count]);
        }
    }
}

#[inline(always)]
pub(super) unsafe fn get<S: Simd>(from: &[f32], at: usize, count: usize) -> S::V {
    // SAFETY: as for `put`.
    unsafe {
        if count == LANES {
            S::load(from[at..at + LANES].as_ptr())
        } else {
            let mut padded = [0.0; LANES];
            padded[..count].copy_from_slice(&from[at..at + count]);
            S::load(padded.as_ptr())
        }
    }
}

#[inline(always)]
unsafe fn rms_norm_body<S: Simd>(x: &[f32], gain: &[f32], epsilon: f32, to: &mut [f32]) {
    assert!(x.len() == gain.len() && x.len() == to.len() && !x.is_empty());
    // SAFETY: all three are as long.
    unsafe {
        let mut squares = S::splat(0.0);
        vectors::<S>(x, |_, v, _| squares = S::fma(v, v, squares));
        let factor = S::splat(1.0 / (S::sum(squares) / x.len() as f32 + epsilon).sqrt());
        vectors::<S>(x, |at, v, count| {
            let normed = S::mul(S::mul(v, factor), get::<S>(gain, at, count));
            put::<S>(to, at, count, normed);
        });
    }
}

#[inline(always)]
unsafe fn silu_times_body<S: Simd>(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    let mut at = 0;
    while at < gate.len() {
        let count = LANES.min(gate.len() - at);
        // SAFETY: `count` elements are there.
        unsafe {
            let x = get::<S>(gate, at, count);
            let below = S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)));
            put::<S>(gate, at, count, S::mul(S::div(x, below), get::<S>(up, at, count)));
        }
        at += count;
    }
}

#[inline(always)]
unsafe fn softmax_body<S: Simd>(scores: &mut [f32], scale: f32) {
    // SAFETY: every access is inside `scores`.
    unsafe {
        let (whole, rest) = scores.as_chunks::<LANES>();
        let mut most = S::splat(f32::NEG_INFINITY);
        for chunk in whole {
            most = S::max(most, S::load(chunk.as_ptr()));
        }
        let most = rest
            .iter()
            .copied()
            .fold(S::largest(most), |a, b| if a > b { a } else { b });
        let (most, scale) = (S::splat(most), S::splat(scale));
        let mut sum = S::splat(0.0);
        let mut at = 0;
        while at < scores.len() {
            let count = LANES.min(scores.len() - at);
            let e = exp::<S>(S::mul(S::sub(get::<S>(scores, at, count), most), scale));
            put::<S>(scores, at, count, e);
            // Read back, so that what lies past the end counts as zero.
            sum = S::add(sum, get::<S>(scores, at, count));
            at += count;
        }
        let factor = S::splat(1.0 / S::sum(sum));
        at = 0;
        while at < scores.len() {
            let count = LANES.min(scores.len() - at);
            let v = S::mul(get::<S>(scores, at, count), factor);
            put::<S>(scores, at, count, v);
            at += count;
        }
    }
}

/// Rotates the two halves of a head: `(a, b)` becomes `(a·cos - b·sin, b·cos + a·sin)`.
pub fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (a, b) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        // Products are rounded before they are added, as on a processor without fused instructions.
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Level;

    fn ramp(count: usize, low: f32, high: f32) -> Vec<f32> {
        (0..count)
            .map(|i| low + (high - low) * i as f32 / count as f32)
            .collect()
    }

    #[test]
    fn silu_is_right_over_the_whole_range_and_at_every_level_the_same() {
        let x = ramp(100_003, -100.0, 100.0);
        let up = vec![1.0; x.len()];
        let mut expected = x.clone();
        silu_times(Level::Portable, &mut expected, &up);
        for (x, y) in x.iter().zip(&expected) {
            let exact = f64::from(*x) / (1.0 + (-f64::from(*x)).exp());
            assert!(
                (f64::from(*y) - exact).abs() <= 4e-7 * exact.abs() + 1e-36,
                "silu({x}) is {exact}, not {y}"
            );
        }
        for level in Level::available() {
            let mut y = x.clone();
            silu_times(level, &mut y, &up);
            assert!(
                y.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()),
                "{level:?}"
            );
        }
    }

    #[test]
    fn softmax_and_norm_are_right_at_every_length_and_level() {
        for count in [1, 2, 15, 16, 17, 63, 300] {
            let x = ramp(count, -3.0, 5.0);
            let gain = ramp(count, 0.5, 1.5);
            let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let total: f64 = wide.iter().map(|x| (0.25 * x).exp()).sum();
            let rms = (wide.iter().map(|x| x * x).sum::<f64>() / wide.len() as f64 + 1e-6).sqrt();
            let mut first = None;
            for level in Level::available() {
                let mut weights = x.clone();
                softmax(level, &mut weights, 0.25);
                let mut normed = vec![0.0; count];
                rms_norm(level, &x, &gain, 1e-6, &mut normed);
                for i in 0..count {
                    assert!((f64::from(weights[i]) - (0.25 * wide[i]).exp() / total).abs() < 1e-6);
                    assert!((f64::from(normed[i]) - wide[i] / rms * f64::from(gain[i])).abs() < 1e-5);
                }
                let bits: Vec<u32> = weights.iter().chain(&normed).map(|x| x.to_bits()).collect();
                assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{count} at {level:?}");
            }
        }
    }
}
