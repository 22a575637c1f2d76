//! An ordinary peer's look at a provider: one chunk, asked for the way a reader would.
//!
//! Possession is not enough: people want to *get* their data. A provider cannot tell a probe from a reader.

use crate::{
    NodeId, Time,
    proof::{Beacon, Proof, Sample, Shard},
    receipt::{RetrievalReceipt, Retrieved},
};

/// How long a provider may take to serve one chunk.
const SERVE_WITHIN_MS: u64 = 5_000;

/// One provider of one shard, as one peer sees it.
#[derive(Clone, Debug)]
pub struct Probe {
    shard: Shard,
    provider: NodeId,
    me: NodeId,
    asked: Option<Asked>,
    epoch: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    chunk: u64,
    epoch: u64,
    at: Time,
}

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeInput {
    /// An epoch began with this randomness.
    Epoch(Beacon),
    /// The provider served this.
    Served(Proof),
    /// The provider said no.
    Refused,
    /// A deadline passed.
    Tick,
}

/// What should happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeEffect {
    /// Ask the provider for this chunk.
    Ask(u64),
    /// Sign and publish what came.
    Report(RetrievalReceipt),
}

impl Probe {
    /// Looks at `provider` of `shard`, in the name of `me`.
    pub const fn new(shard: Shard, provider: NodeId, me: NodeId) -> Self {
        Self {
            shard,
            provider,
            me,
            asked: None,
            epoch: None,
        }
    }

    /// One input.
    pub fn step(&mut self, now: Time, input: ProbeInput, todo: &mut Vec<ProbeEffect>) {
        match input {
            ProbeInput::Epoch(beacon) => {
                if self.epoch.is_some_and(|epoch| beacon.epoch <= epoch) {
                    return;
                }
                self.report(now, Retrieved::Silent, todo);
                self.epoch = Some(beacon.epoch);
                let chunk = self.draw(&beacon);
                self.asked = Some(Asked {
                    chunk,
                    epoch: beacon.epoch,
                    at: now,
                });
                todo.push(ProbeEffect::Ask(chunk));
            }
            ProbeInput::Served(proof) => {
                let Some(asked) = self.asked else { return };
                let right = proof.verify(&self.shard, asked.chunk).is_ok();
                let retrieved = if right { Retrieved::Served } else { Retrieved::Wrong };
                self.report(now, retrieved, todo);
            }
            ProbeInput::Refused => self.report(now, Retrieved::Refused, todo),
            ProbeInput::Tick => {
                if self.deadline().is_some_and(|due| due <= now) {
                    self.report(now, Retrieved::Silent, todo);
                }
            }
        }
    }

    /// When `step` next wants a [`ProbeInput::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        self.asked.map(|asked| asked.at.after_ms(SERVE_WITHIN_MS))
    }

    /// Which chunk: another one for each peer that looks, and for each provider.
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
        let Some(asked) = self.asked.take() else { return };
        let took_ms = u64::try_from(now.since(asked.at).as_millis()).unwrap_or(u64::MAX);
        todo.push(ProbeEffect::Report(RetrievalReceipt {
            auditor: self.me,
            provider: self.provider,
            root: self.shard.root,
            chunk: asked.chunk,
            epoch: asked.epoch,
            retrieved,
            took_ms,
            at: now,
        }));
    }
}
