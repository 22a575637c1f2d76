//! Backward pass of the elementwise kernels, with the order of sums of their forward pass.

#![allow(unsafe_code, reason = "generic over the lanes, whose loads take pointers")]

use super::{
    level::kernel,
    math::{exp, get, put, vectors},
    simd::{LANES, Simd},
};

kernel!(
    /// Adds the gradient through `x / rms(x) · gain` to `onto`.
    pub fn rms_norm_backward(x: &[f32], gain: &[f32], epsilon: f32, d: &[f32], onto: &mut [f32]) = rms_norm_back_body);
kernel!(
    /// Sets `to = d · x / rms(x)`, the summand of the gain's gradient for one row.
    pub fn rms_norm_gain(x: &[f32], epsilon: f32, d: &[f32], to: &mut [f32]) = rms_norm_gain_body);
kernel!(
    /// Backward pass of `silu(gate) · up`: replaces `gate` and `up` by their gradients.
    pub fn silu_times_backward(gate: &mut [f32], up: &mut [f32], d: &[f32]) = silu_times_back_body);
kernel!(
    /// Backward pass of softmax: turns the gradient `d` of the weights into that of the scores before their scale.
    /// `mean` is `Σ weight · d`.
    pub(crate) fn softmax_backward(weights: &[f32], d: &mut [f32], mean: f32, scale: f32) = softmax_back_body);
kernel!(
    /// Returns the dot product of two rows.
    pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 = dot_body);
kernel!(
    /// Returns the negative log-likelihood of the target, and replaces the logits by its gradient times `by`. NaN if
    /// a logit is NaN.
    pub fn cross_entropy(logits: &mut [f32], target: usize, by: f32) -> f64 = cross_entropy_body);

/// Rotates a head back by the angle of its position: the gradient of rotating it.
pub fn rotate_backward(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (a, b) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        // Products are rounded before they are added, as in the forward pass.
        (*a, *b) = (*a * cos + *b * sin, *b * cos - *a * sin);
    }
}

/// Returns `1 / rms(x)` with the bits of the forward pass.
#[inline(always)]
unsafe fn factor<S: Simd>(x: &[f32], epsilon: f32) -> f32 {
    // SAFETY: works on lanes only.
    unsafe {
        let mut squares = S::splat(0.0);
        vectors::<S>(x, |_, v, _| squares = S::fma(v, v, squares));
        1.0 / (S::sum(squares) / x.len() as f32 + epsilon).sqrt()
    }
}

#[inline(always)]
unsafe fn rms_norm_back_body<S: Simd>(x: &[f32], gain: &[f32], epsilon: f32, d: &[f32], onto: &mut [f32]) {
    assert!(x.len() == gain.len() && x.len() == d.len() && x.len() == onto.len() && !x.is_empty());
    // SAFETY: all four are as long.
    unsafe {
        let factor = factor::<S>(x, epsilon);
        let mut along = S::splat(0.0);
        vectors::<S>(x, |at, v, count| {
            let d = S::mul(get::<S>(gain, at, count), get::<S>(d, at, count));
            along = S::fma(v, d, along);
        });
        // d/dx of x·f with f = (x·x/n + ε)^-½: the component along x is removed.
        let along = S::splat(S::sum(along) * factor * factor * factor / x.len() as f32);
        let factor = S::splat(factor);
        vectors::<S>(x, |at, v, count| {
            let d = S::mul(get::<S>(gain, at, count), get::<S>(d, at, count));
            let back = S::sub(S::mul(d, factor), S::mul(v, along));
            let sum = S::add(get::<S>(onto, at, count), back);
            put::<S>(onto, at, count, sum);
        });
    }
}

#[inline(always)]
unsafe fn rms_norm_gain_body<S: Simd>(x: &[f32], epsilon: f32, d: &[f32], to: &mut [f32]) {
    assert!(x.len() == d.len() && x.len() == to.len() && !x.is_empty());
    // SAFETY: all three are as long.
    unsafe {
        let factor = S::splat(factor::<S>(x, epsilon));
        vectors::<S>(x, |at, v, count| {
            put::<S>(to, at, count, S::mul(S::mul(v, factor), get::<S>(d, at, count)));
        });
    }
}

#[inline(always)]
unsafe fn silu_times_back_body<S: Simd>(gate: &mut [f32], up: &mut [f32], d: &[f32]) {
    assert!(gate.len() == up.len() && gate.len() == d.len());
    let mut at = 0;
    while at < gate.len() {
        let count = LANES.min(gate.len() - at);
        // SAFETY: `count` elements are there.
        unsafe {
            let (x, y, d) = (
                get::<S>(gate, at, count),
                get::<S>(up, at, count),
                get::<S>(d, at, count),
            );
            let one = S::splat(1.0);
            let sigmoid = S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))));
            let silu = S::mul(x, sigmoid);
            // silu' = σ · (1 + x · (1 − σ)).
            let slope = S::mul(sigmoid, S::fma(x, S::sub(one, sigmoid), one));
            put::<S>(up, at, count, S::mul(d, silu));
            put::<S>(gate, at, count, S::mul(S::mul(d, y), slope));
        }
        at += count;
    }
}

#[inline(always)]
unsafe fn softmax_back_body<S: Simd>(weights: &[f32], d: &mut [f32], mean: f32, scale: f32) {
    assert_eq!(weights.len(), d.len());
    // SAFETY: both are as long.
    unsafe {
        let (mean, scale) = (S::splat(mean), S::splat(scale));
        vectors::<S>(weights, |at, p, count| {
            let back = S::mul(S::mul(p, S::sub(get::<S>(d, at, count), mean)), scale);
            put::<S>(d, at, count, back);
        });
    }
}

#[inline(always)]
unsafe fn dot_body<S: Simd>(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    // SAFETY: both are as long.
    unsafe {
        let mut sum = S::splat(0.0);
        vectors::<S>(a, |at, v, count| sum = S::fma(v, get::<S>(b, at, count), sum));
        S::sum(sum)
    }
}

#[inline(always)]
unsafe fn cross_entropy_body<S: Simd>(logits: &mut [f32], target: usize, by: f32) -> f64 {
    let wanted = logits[target];
    // The lanes' comparisons would drop a NaN.
    if logits.iter().fold(false, |any, x| any | x.is_nan()) {
        return f64::NAN;
    }
    // SAFETY: every access is inside `logits`.
    unsafe {
        let (whole, rest) = logits.as_chunks::<LANES>();
        let mut most = S::splat(f32::NEG_INFINITY);
        for chunk in whole {
            most = S::max(most, S::load(chunk.as_ptr()));
        }
        let most = rest.iter().copied().fold(S::largest(most), f32::max);
        let (high, mut sum, mut at) = (S::splat(most), S::splat(0.0), 0);
        while at < logits.len() {
            let count = LANES.min(logits.len() - at);
            put::<S>(logits, at, count, exp::<S>(S::sub(get::<S>(logits, at, count), high)));
            // Read back, so that what lies past the end counts as zero.
            sum = S::add(sum, get::<S>(logits, at, count));
            at += count;
        }
        let sum = S::sum(sum);
        let (each, mut at) = (S::splat(by / sum), 0);
        while at < logits.len() {
            let count = LANES.min(logits.len() - at);
            put::<S>(logits, at, count, S::mul(get::<S>(logits, at, count), each));
            at += count;
        }
        logits[target] -= by;
        f64::from(most) + libm::log(f64::from(sum)) - f64::from(wanted)
    }
}

#[cfg(test)]
mod tests;
