//! Pins as figures.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::receipt::Outcome;

use super::Pins;

/// Verdicts since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    held: AtomicU64,
    missed: AtomicU64,
    false_proofs: AtomicU64,
}

impl Tally {
    pub(super) fn note(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Held => &self.held,
            Outcome::Missed => &self.missed,
            Outcome::False => &self.false_proofs,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How things stand.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "each field is named for what it is")]
pub struct Figures {
    pub deals: usize,
    pub copies_wanted: u64,
    pub copies_held: u64,
    pub hosted: usize,
    pub hosted_bytes: u64,
    pub audits_held: u64,
    pub audits_missed: u64,
    pub audits_false: u64,
}

impl Pins {
    /// How deals stand.
    pub fn figures(&self) -> Figures {
        let running: Vec<_> = self
            .0
            .deals
            .owned()
            .into_iter()
            .filter(|deal| !deal.is_over())
            .collect();
        let hosted = self.0.deals.hosted();
        let tally = &self.0.deals.tally;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            deals: running.len(),
            copies_wanted: running.iter().map(|deal| u64::from(deal.signed.message.copies)).sum(),
            copies_held: running.iter().map(|deal| deal.holding().len() as u64).sum(),
            hosted: hosted.len(),
            hosted_bytes: hosted.iter().map(|deal| deal.deal.bytes()).sum(),
            audits_held: read(&tally.held),
            audits_missed: read(&tally.missed),
            audits_false: read(&tally.false_proofs),
        }
    }
}
