//! Counters and histograms of one engine; `gateway` renders them for Prometheus.

use std::time::Duration;

use bincode::{Decode, Encode};

use crate::{schedule::Occupancy, tier::Counters};

/// Upper bounds of the buckets in microseconds; longer times fall into one more.
const BOUNDS_US: [u64; 19] = [
    500, 1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 30_000, 50_000, 75_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Histogram {
    /// Count per bucket of [`Self::bounds_us`], and one for what is longer.
    pub counts: [u64; BOUNDS_US.len() + 1],
    pub sum_us: u64,
}

impl Histogram {
    /// Upper bounds of the buckets, in microseconds.
    pub fn bounds_us() -> &'static [u64] {
        &BOUNDS_US
    }

    /// Number of durations added.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS_US.partition_point(|bound| *bound < us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }
}

/// Counts since the start, and the current state of queues and caches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Metrics {
    /// Time to first token.
    pub first_token: Histogram,
    /// Inter-token latency.
    pub next_token: Histogram,
    /// From submission to the end of the completion.
    pub whole: Histogram,
    /// Duration of one forward pass.
    pub step: Histogram,
    /// Requests that ended by an end token, a stop string, or the length limit.
    pub finished: u64,
    /// Requests whose client went away.
    pub cancelled: u64,
    pub refused: u64,
    pub failed: u64,
    /// Prompt tokens of requests that ended.
    pub prompt_tokens: u64,
    /// Prompt tokens found in the prefix cache.
    pub cached_tokens: u64,
    pub completion_tokens: u64,
    /// Adapters loaded into slots of the device.
    pub slot_loads: u64,
    /// Number of rebuilds of the model after a failed step.
    pub rebuilds: u64,
    pub occupancy: Occupancy,
    pub tiers: Counters,
}
