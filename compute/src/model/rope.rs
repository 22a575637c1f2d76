//! Rotary position embeddings: frequencies of a model, and tables of their sines and cosines.
//!
//! Frequencies are rounded to singles where the reference implementation rounds them. Sines and cosines are computed
//! in software (libm), so that they are the same on every machine.

#![allow(
    clippy::cast_possible_truncation,
    reason = "doubles are rounded to the singles that are computed with"
)]

use std::f64::consts::TAU;

use super::{Config, RopeScaling};

/// Table of cosines and sines by position; grows with [`Rope::reach`].
///
/// ```
/// use compute::model::{Config, rope::Rope};
///
/// let mut rope = Rope::new(&Config::smol_135m());
/// rope.reach(2);
/// let (cos, sin) = rope.at(0);
/// assert_eq!((cos.len(), cos[0], sin[0]), (32, 1.0, 0.0));
/// ```
pub struct Rope {
    frequencies: Vec<f32>,
    attention: f32,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// Makes an empty table for a model.
    pub fn new(config: &Config) -> Self {
        let attention = match config.rope_scaling {
            RopeScaling::Yarn { attention, .. } => attention as f32,
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => 1.0,
        };
        Self {
            frequencies: frequencies(config),
            attention,
            cos: Vec::new(),
            sin: Vec::new(),
        }
    }

    /// Extends the table to `positions` positions.
    pub fn reach(&mut self, positions: usize) {
        let have = self.cos.len() / self.frequencies.len();
        for position in have..positions {
            for frequency in &self.frequencies {
                // Transformers computes both factors and their product as singles.
                let angle = f64::from(position as f32 * frequency);
                self.cos.push(libm::cos(angle) as f32 * self.attention);
                self.sin.push(libm::sin(angle) as f32 * self.attention);
            }
        }
    }

    /// Returns the cosines and sines of a position, one for each pair of dimensions.
    ///
    /// # Panics
    ///
    /// If the table was not extended so far.
    pub fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.frequencies.len()..(position + 1) * self.frequencies.len();
        (&self.cos[range.clone()], &self.sin[range])
    }
}

fn frequencies(config: &Config) -> Vec<f32> {
    let half = config.head / 2;
    let width = config.head as f32;
    let powers = (0..half).map(|i| libm::pow(config.rope_theta, f64::from(2.0 * i as f32 / width)) as f32);
    match config.rope_scaling {
        RopeScaling::None => powers.map(|power| 1.0 / power).collect(),
        RopeScaling::Linear { factor } => powers.map(|power| 1.0 / power / factor as f32).collect(),
        RopeScaling::Llama3 {
            factor,
            low,
            high,
            trained_tokens,
        } => powers
            .map(|power| {
                let plain = f64::from(1.0 / power);
                let turns = trained_tokens * plain / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                ((1.0 - kept) * plain / factor + kept * plain) as f32
            })
            .collect(),
        RopeScaling::Yarn {
            factor,
            fast,
            slow,
            trained_tokens,
            truncate,
            ..
        } => {
            // YaRN, §3.2: the dimension that makes this many turns over the trained context.
            let width = f64::from(width);
            let log_theta = libm::log(config.rope_theta).max(f64::MIN_POSITIVE);
            let dimension = |turns: f64| width * libm::log(trained_tokens / (turns * TAU)) / (2.0 * log_theta);
            let (low, high) = (dimension(fast), dimension(slow));
            let (low, high) = if truncate {
                (low.floor(), high.ceil())
            } else {
                (low, high)
            };
            let (low, mut high) = (low.max(0.0), high.min(width - 1.0));
            if low >= high {
                high = low + 0.001;
            }
            powers
                .enumerate()
                .map(|(i, power)| {
                    let plain = f64::from(1.0 / power);
                    let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    (plain / factor * divided + plain * (1.0 - divided)) as f32
                })
                .collect()
        }
    }
}
