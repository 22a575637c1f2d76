//! Counters of the chain for metrics and status.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::lock;

/// Counters of the chain since the node started. The chain thread updates them, and any thread may read them.
#[derive(Debug, Default)]
pub struct Counters {
    pub blocks: AtomicU64,
    /// Transactions in committed blocks.
    pub transactions: AtomicU64,
    /// Rounds after the first that heights needed.
    pub extra_rounds: AtomicU64,
    /// Proposed blocks that were refused.
    pub refused: AtomicU64,
    /// Proofs that a validator signed contradicting messages.
    pub equivocations: AtomicU64,
    /// Rules that peers broke.
    pub faults: AtomicU64,
    /// Microseconds spent on syncing the journal and the block log.
    pub sync_us: AtomicU64,
    /// Time of each recent height, from its start until its block was final.
    pub heights: RecentDurations,
}

impl Counters {
    /// Name, help text and value of each counter that is a metric.
    pub fn each(&self) -> Vec<(&'static str, &'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("chain_blocks", "Blocks committed since the start.", read(&self.blocks)),
            (
                "chain_transactions",
                "Transactions in committed blocks since the start.",
                read(&self.transactions),
            ),
            (
                "consensus_extra_rounds",
                "Rounds beyond the first that blocks needed, counted.",
                read(&self.extra_rounds),
            ),
            (
                "consensus_refused_blocks",
                "Proposed blocks refused.",
                read(&self.refused),
            ),
            (
                "consensus_equivocations",
                "Proofs that a validator contradicted itself, counted.",
                read(&self.equivocations),
            ),
            (
                "consensus_faults",
                "Broken rules that peers were faults for.",
                read(&self.faults),
            ),
        ]
    }
}

/// The last [`RecentDurations::MAX`] durations of something, for quantiles.
#[derive(Debug, Default)]
pub struct RecentDurations(Mutex<VecDeque<Duration>>);

impl RecentDurations {
    const MAX: usize = 1024;

    pub(super) fn add(&self, took: Duration) {
        let mut durations = lock::locked(&self.0);
        if durations.len() == Self::MAX {
            durations.pop_front();
        }
        durations.push_back(took);
    }

    /// The durations that these shares of a thousand do not exceed; `None` if there are none yet.
    pub fn quantiles<const N: usize>(&self, per_mille: [usize; N]) -> Option<[Duration; N]> {
        let durations = lock::locked(&self.0);
        let mut sorted: Vec<_> = durations.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        Some(per_mille.map(|share| sorted[(last * share).div_ceil(1000)]))
    }
}
