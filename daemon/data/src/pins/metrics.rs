//! Prometheus metrics of pins and audits.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::receipt::Outcome;

use super::Pins;
use base::metrics::{Kind, Metric};

/// Audit results since the start.
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

impl Pins {
    /// Returns the metrics, each with its help text.
    pub fn metrics(&self) -> Vec<Metric> {
        let running: Vec<_> = self
            .0
            .deals
            .owned()
            .into_iter()
            .filter(|deal| !deal.is_over())
            .collect();
        let (hosted, tally) = (self.0.deals.hosted(), &self.0.deals.tally);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let figure = |kind| {
            move |name, help, value| Metric {
                kind,
                name,
                help,
                value,
            }
        };
        let (gauge, counter) = (figure(Kind::Gauge), figure(Kind::Counter));
        vec![
            gauge(
                "deals",
                "Deals of this node's own that run, counted.",
                running.len() as u64,
            ),
            gauge(
                "copies_wanted",
                "Copies that those deals want, counted.",
                running.iter().map(|deal| u64::from(deal.signed.message.copies)).sum(),
            ),
            gauge(
                "copies_held",
                "Copies that hosts hold, as far as is known, counted.",
                running.iter().map(|deal| deal.holding().len() as u64).sum(),
            ),
            gauge(
                "hosted",
                "Deals of others that this node keeps, counted.",
                hosted.len() as u64,
            ),
            gauge(
                "hosted_bytes",
                "What is kept for others, in bytes.",
                hosted.iter().map(|deal| deal.deal.bytes()).sum(),
            ),
            counter(
                "audits_held",
                "Audits that a host passed, since the start.",
                read(&tally.held),
            ),
            counter(
                "audits_missed",
                "Audits that a host missed, since the start.",
                read(&tally.missed),
            ),
            counter(
                "audits_false",
                "Audits with a false proof, since the start.",
                read(&tally.false_proofs),
            ),
        ]
    }
}
