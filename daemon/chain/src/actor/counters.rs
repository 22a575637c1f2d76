//! Numbers about the chain that metrics and status show.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::lock;

/// Numbers about the chain that metrics and status show.
#[derive(Debug, Default)]
pub struct Counters {
    /// Blocks committed since the start.
    pub blocks: AtomicU64,
    /// Transactions in them.
    pub transactions: AtomicU64,
    /// Rounds beyond the first that were needed.
    pub extra_rounds: AtomicU64,
    /// Blocks refused.
    pub refused: AtomicU64,
    /// Proofs of equivocation found.
    pub equivocations: AtomicU64,
    /// Peers blamed.
    pub blamed: AtomicU64,
    /// Microseconds spent syncing the journal and the log.
    pub sync_us: AtomicU64,
    /// How long the last heights took, from beginning to final.
    pub heights: Recent,
}

impl Counters {
    /// The name, the meaning and the value of each that is a whole number.
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
                "Broken rules that peers were blamed for.",
                read(&self.blamed),
            ),
        ]
    }
}

/// The last so many durations of something.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Duration>>);

impl Recent {
    const MAX: usize = 1024;

    pub(super) fn add(&self, took: Duration) {
        let mut recent = lock::locked(&self.0);
        if recent.len() == Self::MAX {
            recent.pop_front();
        }
        recent.push_back(took);
    }

    /// The durations that these shares of a thousand do not exceed; nothing if there are none yet.
    pub fn quantiles<const N: usize>(&self, per_mille: [usize; N]) -> Option<[Duration; N]> {
        let recent = lock::locked(&self.0);
        let mut sorted: Vec<_> = recent.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        Some(per_mille.map(|share| sorted[(last * share).div_ceil(1000)]))
    }
}
