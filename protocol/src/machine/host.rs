//! The host's state machine for one deal: fetch the shards, register with proofs, answer challenges, unpin at the end.

use super::{Deal, DealId, RESEND_MS};
use crate::{
    Amount, NodeId, Time,
    proof::{Beacon, Bundle},
};

/// A host's conditions for accepting deals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTerms {
    /// Bytes that may still be promised.
    pub free: u64,
    /// Price per GiB and epoch; a fraction of a GiB counts as a whole one.
    pub price_per_gib: Amount,
    /// The shortest answer time that this host accepts.
    pub answer_within_ms: u64,
}

/// The reason that a host declines a deal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, bincode::Encode, bincode::Decode)]
pub enum Decline {
    #[error("the deal cannot be kept: {0}")]
    Terms(String),
    #[error("{need} bytes are asked for and {free} are free")]
    Full {
        /// Size of a copy.
        need: u64,
        free: u64,
    },
    #[error("{offered} per epoch are offered where {wanted} are asked")]
    Price { offered: Amount, wanted: Amount },
    /// The deal's answer time is too short.
    #[error("answers within {offered} ms are asked for; this host promises {wanted} ms")]
    AnswerTime { offered: u64, wanted: u64 },
    #[error("the deal is over before a copy can be fetched")]
    TooLate,
}

impl HostTerms {
    /// Checks a deal against these conditions.
    pub fn check(&self, deal: &Deal, now: Time) -> Result<(), Decline> {
        deal.check().map_err(|error| Decline::Terms(error.to_string()))?;
        let need = deal.bytes();
        if need > self.free {
            return Err(Decline::Full { need, free: self.free });
        }
        let gib = u128::from(need.div_ceil(1 << 30).max(1));
        let wanted = Amount(self.price_per_gib.0.saturating_mul(gib));
        if deal.price < wanted {
            let offered = deal.price;
            return Err(Decline::Price { offered, wanted });
        }
        if deal.answer_within_ms < self.answer_within_ms {
            let (offered, wanted) = (deal.answer_within_ms, self.answer_within_ms);
            return Err(Decline::AnswerTime { offered, wanted });
        }
        if deal.until <= now.after_ms(deal.fetch_within_ms) {
            return Err(Decline::TooLate);
        }
        Ok(())
    }
}

/// An accepted deal, from the host's side.
#[derive(Clone, Debug)]
pub struct Hosting {
    deal: Deal,
    id: DealId,
    me: NodeId,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    Fetching {
        due: Time,
    },
    /// `bundle` is resent until the owner acknowledges this part.
    Registering {
        part: u32,
        bundle: Option<Bundle>,
        again: Time,
        due: Time,
    },
    Holding {
        proving: Option<Beacon>,
    },
    Over,
}

/// An input of [`Hosting::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostInput {
    /// Every shard is stored and verified.
    Fetched,
    /// The owner acknowledged a part of the registration.
    Registered {
        /// The part. The last part means that the owner has all of them.
        part: u32,
    },
    /// An auditor sent a challenge.
    Challenged(Beacon),
    /// The proofs that [`HostEffect::Prove`] asked for, in the same order.
    Proven(Bundle),
    /// A stored shard no longer matches its hash.
    Damaged,
    Renewed {
        until: Time,
    },
    /// The owner released this copy.
    Released,
    Tick,
}

/// The reason that a host unpins a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpinReason {
    /// The deal ended.
    Expired,
    /// The owner released the copy.
    Released,
    /// Fetching or registering did not finish in time.
    Late,
}

/// An effect that the caller performs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEffect {
    /// Pin the shards and fetch the missing ones.
    Fetch,
    /// Build proofs of these (shard index, chunk) pairs. The result comes back as [`HostInput::Proven`], or as
    /// [`HostInput::Damaged`] if the stored bytes no longer match the shard's hash.
    Prove(Vec<(usize, u64)>),
    /// Send a part of the registration to the owner.
    Register { part: u32, bundle: Bundle },
    /// Sign these proofs and send them to the auditors that sent the challenge.
    Answer(Beacon, Bundle),
    /// Unpin the shards.
    Unpin(UnpinReason),
}

impl Hosting {
    /// Accepts a deal that passed [`HostTerms::check`] and starts fetching.
    pub fn take(deal: Deal, me: NodeId, now: Time, todo: &mut Vec<HostEffect>) -> Self {
        todo.push(HostEffect::Fetch);
        let due = now.after_ms(deal.fetch_within_ms);
        Self {
            id: deal.id(),
            deal,
            me,
            phase: Phase::Fetching { due },
        }
    }

    /// Returns the deal's id.
    pub const fn id(&self) -> DealId {
        self.id
    }

    /// Returns the terms, with renewals applied.
    pub const fn deal(&self) -> &Deal {
        &self.deal
    }

    /// Returns true if the machine has ended and ignores further inputs.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Returns true if the owner has acknowledged the whole registration.
    pub const fn is_registered(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. })
    }

    /// Processes one input at time `now` and appends the effects to `todo`.
    pub fn step(&mut self, now: Time, input: HostInput, todo: &mut Vec<HostEffect>) {
        if self.is_over() {
            return;
        }
        match input {
            HostInput::Fetched => {
                if let Phase::Fetching { due } = self.phase {
                    self.register(0, due, todo);
                }
            }
            HostInput::Registered { part } => self.acknowledged(part, todo),
            HostInput::Challenged(beacon) => self.challenge(beacon, todo),
            HostInput::Proven(bundle) => self.proven(now, bundle, todo),
            HostInput::Damaged => self.damaged(todo),
            HostInput::Renewed { until } => self.deal.until = self.deal.until.max(until),
            HostInput::Released => self.unpin(UnpinReason::Released, todo),
            HostInput::Tick => self.tick(now, todo),
        }
    }

    /// Returns the time at which `step` needs the next [`HostInput::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        let due = match &self.phase {
            Phase::Fetching { due } => *due,
            Phase::Registering { again, due, .. } => *again.min(due),
            Phase::Holding { .. } => self.deal.until,
            Phase::Over => return None,
        };
        Some(due.min(self.deal.until))
    }

    fn register(&mut self, part: u32, due: Time, todo: &mut Vec<HostEffect>) {
        self.phase = Phase::Registering {
            part,
            bundle: None,
            again: due,
            due,
        };
        todo.push(HostEffect::Prove(self.deal.registration(part)));
    }

    /// The owner acknowledged a part: send the next one, or hold the copy after the last.
    fn acknowledged(&mut self, acknowledged: u32, todo: &mut Vec<HostEffect>) {
        let Phase::Registering {
            part,
            bundle: Some(_),
            due,
            ..
        } = self.phase
        else {
            return; // An acknowledgement of nothing that was sent.
        };
        if acknowledged + 1 >= self.deal.parts() {
            self.phase = Phase::Holding { proving: None };
        } else if acknowledged == part {
            self.register(part + 1, due, todo);
        }
    }

    /// Sends proofs, after checking them: a signed false proof costs the bond.
    fn proven(&mut self, now: Time, built: Bundle, todo: &mut Vec<HostEffect>) {
        match &mut self.phase {
            Phase::Registering {
                part, bundle, again, ..
            } => {
                if bundle.is_none() && self.deal.registers(*part, &built).is_ok() {
                    *again = now.after_ms(RESEND_MS);
                    *bundle = Some(built.clone());
                    let (part, bundle) = (*part, built);
                    todo.push(HostEffect::Register { part, bundle });
                }
            }
            Phase::Holding { proving } => {
                if let Some(beacon) = *proving
                    && built.verify(&self.deal.sample(&self.id, self.me, &beacon)).is_ok()
                {
                    *proving = None;
                    todo.push(HostEffect::Answer(beacon, built));
                }
            }
            Phase::Fetching { .. } | Phase::Over => (),
        }
    }

    /// Fetches damaged shards again. A registered copy stays registered; its challenges are missed until it is repaired.
    fn damaged(&mut self, todo: &mut Vec<HostEffect>) {
        match &mut self.phase {
            Phase::Holding { proving } => *proving = None,
            Phase::Registering { due, .. } => {
                let due = *due;
                self.phase = Phase::Fetching { due };
            }
            Phase::Fetching { .. } | Phase::Over => (),
        }
        todo.push(HostEffect::Fetch);
    }

    fn challenge(&mut self, beacon: Beacon, todo: &mut Vec<HostEffect>) {
        // An auditor may learn of the registration before the owner's acknowledgement reaches this host.
        if matches!(self.phase, Phase::Registering { bundle: Some(_), .. }) {
            self.phase = Phase::Holding { proving: None };
        }
        let Phase::Holding { proving } = &mut self.phase else {
            return; // A challenge before there is anything to prove.
        };
        // Auditors resend challenges: prove once per epoch. A later epoch replaces an unfinished earlier one.
        if proving.is_some_and(|running| running.epoch >= beacon.epoch) {
            return;
        }
        *proving = Some(beacon);
        todo.push(HostEffect::Prove(self.deal.sample(&self.id, self.me, &beacon).draw()));
    }

    fn tick(&mut self, now: Time, todo: &mut Vec<HostEffect>) {
        if self.deal.until <= now {
            return self.unpin(UnpinReason::Expired, todo);
        }
        match &mut self.phase {
            Phase::Fetching { due } | Phase::Registering { due, .. } if *due <= now => {
                self.unpin(UnpinReason::Late, todo)
            }
            Phase::Registering {
                part,
                bundle: Some(bundle),
                again,
                ..
            } if *again <= now => {
                *again = now.after_ms(RESEND_MS);
                let (part, bundle) = (*part, bundle.clone());
                todo.push(HostEffect::Register { part, bundle });
            }
            Phase::Fetching { .. } | Phase::Registering { .. } | Phase::Holding { .. } | Phase::Over => (),
        }
    }

    fn unpin(&mut self, why: UnpinReason, todo: &mut Vec<HostEffect>) {
        self.phase = Phase::Over;
        todo.push(HostEffect::Unpin(why));
    }
}
