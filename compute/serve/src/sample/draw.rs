//! The greedy choice, and random draws after top-k, top-p and min-p filtering.

use std::cmp::Ordering;

use protocol::crypto;

use super::{Params, math};

/// The likeliest token; of equals the one with the lowest id.
pub(super) fn greedy(logits: &[f32]) -> u32 {
    let largest = math::largest(logits);
    // If all are NaN, none equals the largest.
    token(logits.iter().position(|logit| *logit == largest).unwrap_or(0))
}

/// The `count` likeliest tokens, most likely first; equals in order of their ids.
pub(super) fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    if count == 0 {
        return Vec::new();
    }
    let mut all: Vec<(u32, f32)> = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| logit.is_finite())
        .map(|(at, logit)| (token(at), *logit))
        .collect();
    keep(&mut all, count);
    all.sort_unstable_by(likelier);
    all
}

/// Draws the token with this index in the completion.
pub(super) fn draw(params: &Params, logits: &[f32], index: u32) -> u32 {
    let top = math::largest(logits);
    if !top.is_finite() {
        return greedy(logits);
    }
    // min-p is a bound on logits: p / p_max = exp((l - l_max) / T). It needs no order, so it comes first.
    let warm = |logit: f32| math::exp((logit - top) / params.temperature);
    let mut left: Vec<(u32, f32)> = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| logit.is_finite())
        .map(|(at, logit)| (token(at), warm(*logit)))
        .filter(|(_, share)| *share > 0.0 && *share >= params.min_p)
        .collect();
    if params.top_k > 0 {
        keep(&mut left, params.top_k as usize);
    }
    if params.top_p < 1.0 {
        nucleus(&mut left, params.top_p);
    }
    // Sorted by id from here on, so that the draw does not depend on the order that filtering left.
    left.sort_unstable_by_key(|(token, _)| *token);
    let total = math::sum(left.iter().map(|(_, share)| *share));
    let mut rest = uniform(params.seed, index) * total;
    for (token, share) in &left {
        rest -= f64::from(*share);
        if rest < 0.0 {
            return *token;
        }
    }
    left.last().expect("the likeliest token always stays").0
}

/// Keeps the smallest set of likeliest tokens that reaches `top_p` of the total.
fn nucleus(left: &mut Vec<(u32, f32)>, top_p: f32) {
    let wanted = math::sum(left.iter().map(|(_, share)| *share)) * f64::from(top_p);
    // Sorting a whole vocabulary is slow and rarely needed: its likeliest 64 nearly always suffice.
    let mut head = 64;
    loop {
        let mut likely = left.clone();
        keep(&mut likely, head);
        likely.sort_unstable_by(likelier);
        let mut sum = 0.0;
        for (at, (_, share)) in likely.iter().enumerate() {
            sum += f64::from(*share);
            if sum >= wanted {
                likely.truncate(at + 1);
                *left = likely;
                return;
            }
        }
        if likely.len() == left.len() {
            return;
        }
        head *= 16;
    }
}

fn keep(all: &mut Vec<(u32, f32)>, count: usize) {
    if count < all.len() {
        all.select_nth_unstable_by(count, likelier);
        all.truncate(count);
    }
}

fn likelier(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// A number in [0, 1) that depends on the seed and the index alone.
fn uniform(seed: u64, index: u32) -> f64 {
    let hash = crypto::digest("openledger 2026 sampling", &[&seed.to_be_bytes(), &index.to_be_bytes()]);
    let bits = u64::from_be_bytes(hash[..8].try_into().expect("eight bytes")) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

fn token(at: usize) -> u32 {
    u32::try_from(at).expect("a vocabulary has fewer than 2^32 tokens")
}
