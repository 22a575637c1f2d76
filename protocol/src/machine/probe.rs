//! A retrieval check: request one chunk from a provider, as an ordinary reader would, and report the result.
//!
//! Proven possession does not show that the data can be downloaded. A provider cannot tell a probe from a reader.

use crate::{
    NodeId, Time,
    proof::{Beacon, Proof, Sample, Shard},
    receipt::{RetrievalReceipt, Retrieved},
};

/// Time for a provider to serve one chunk.
const SERVE_WITHIN_MS: u64 = 5_000;

/// Checks of one provider of one shard by this peer, one per epoch.
#[derive(Clone, Debug)]
pub struct Probe {
    shard: Shard,
    provider: NodeId,
    me: NodeId,
    pending: Option<Pending>,
    epoch: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    chunk: u64,
    epoch: u64,
    at: Time,
}

/// An input of [`Probe::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeInput {
    /// An epoch began with this randomness.
    Epoch(Beacon),
    Served(Proof),
    Refused,
    Tick,
}

/// An effect that the caller performs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeEffect {
    /// Request this chunk from the provider.
    Request(u64),
    /// Sign the report and publish it.
    Report(RetrievalReceipt),
}

impl Probe {
    /// Creates the checks of `provider`; `me` is the peer in the reports.
    pub const fn new(shard: Shard, provider: NodeId, me: NodeId) -> Self {
        Self {
            shard,
            provider,
            me,
            pending: None,
            epoch: None,
        }
    }

    /// Processes one input at time `now` and appends the effects to `todo`.
    pub fn step(&mut self, now: Time, input: ProbeInput, todo: &mut Vec<ProbeEffect>) {
        match input {
            ProbeInput::Epoch(beacon) => {
                if self.epoch.is_some_and(|epoch| beacon.epoch <= epoch) {
                    return;
                }
                self.report(now, Retrieved::TimedOut, todo);
                self.epoch = Some(beacon.epoch);
                let chunk = self.draw(&beacon);
                self.pending = Some(Pending {
                    chunk,
                    epoch: beacon.epoch,
                    at: now,
                });
                todo.push(ProbeEffect::Request(chunk));
            }
            ProbeInput::Served(proof) => {
                let Some(pending) = self.pending else { return };
                let right = proof.verify(&self.shard, pending.chunk).is_ok();
                let retrieved = if right { Retrieved::Served } else { Retrieved::Wrong };
                self.report(now, retrieved, todo);
            }
            ProbeInput::Refused => self.report(now, Retrieved::Refused, todo),
            ProbeInput::Tick => {
                if self.deadline().is_some_and(|due| due <= now) {
                    self.report(now, Retrieved::TimedOut, todo);
                }
            }
        }
    }

    /// Returns the time at which `step` needs the next [`ProbeInput::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        self.pending.map(|pending| pending.at.after_ms(SERVE_WITHIN_MS))
    }

    /// Selects the chunk. The seed holds the peer and the provider, so each pair checks another chunk.
    fn draw(&self, beacon: &Beacon) -> u64 {
        let sample = Sample {
            beacon,
            node: self.provider,
            set: &self.me.0,
            shards: std::slice::from_ref(&self.shard),
            count: 1,
        };
        sample.draw().first().map_or(0, |(_, chunk)| *chunk)
    }

    fn report(&mut self, now: Time, retrieved: Retrieved, todo: &mut Vec<ProbeEffect>) {
        let Some(pending) = self.pending.take() else { return };
        let took_ms = u64::try_from(now.since(pending.at).as_millis()).unwrap_or(u64::MAX);
        todo.push(ProbeEffect::Report(RetrievalReceipt {
            auditor: self.me,
            provider: self.provider,
            root: self.shard.root,
            chunk: pending.chunk,
            epoch: pending.epoch,
            retrieved,
            took_ms,
            at: now,
        }));
    }
}
