//! What an engine counts.

use std::time::Duration;

use bincode::{Decode, Encode};

use crate::{schedule::Census, tier::Counters};

/// Upper bounds of the classes, in microseconds; what is longer falls behind the last.
const BOUNDS_US: [u64; 19] = [
    500, 1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 30_000, 50_000, 75_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// How long something took, in classes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Histogram {
    /// How many fell into each class of [`Self::bounds_us`], and behind the last.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// All together.
    pub sum_us: u64,
}

impl Histogram {
    /// The classes.
    pub fn bounds_us() -> &'static [u64] {
        &BOUNDS_US
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS_US.partition_point(|bound| *bound < us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }
}

/// Counts since the start, and who is where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Metrics {
    /// From asking to the first token.
    pub first_token: Histogram,
    /// From one token to the next.
    pub next_token: Histogram,
    /// From asking to the end of the answer.
    pub whole: Histogram,
    /// A step of the model.
    pub step: Histogram,
    /// Requests that ended by themselves, at a stop, or as long as they may be.
    pub finished: u64,
    /// Requests whose asker went.
    pub cancelled: u64,
    /// Requests that were not served.
    pub refused: u64,
    /// Requests that could not go on.
    pub failed: u64,
    /// Tokens of prompts of requests that ended.
    pub prompt_tokens: u64,
    /// Those of them that were known already.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub answer_tokens: u64,
    /// Adapters put into slots.
    pub slot_loads: u64,
    /// How often the model was built anew because a step failed.
    pub rebuilds: u64,
    /// Who is where.
    pub census: Census,
    /// Where adapters are.
    pub tiers: Counters,
}
