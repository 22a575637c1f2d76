//! A host's side of one deal: fetch, register, answer, forget.

use super::{AGAIN_MS, Deal, DealId};
use crate::{
    Amount, NodeId, Time,
    proof::{Beacon, Bundle},
};

/// What a host takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appetite {
    /// Bytes that may still be promised.
    pub free: u64,
    /// What a GiB costs per epoch; a part of one counts as a whole.
    pub price_per_gib: Amount,
    /// The shortest time in which this host promises to answer.
    pub answer_within_ms: u64,
}

/// Why a host does not take a deal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, bincode::Encode, bincode::Decode)]
pub enum Decline {
    /// The deal is no good.
    #[error("the deal cannot be kept: {0}")]
    Terms(String),
    /// No room.
    #[error("{need} bytes are asked for and {free} are free")]
    Full {
        /// What a copy takes.
        need: u64,
        /// What there is.
        free: u64,
    },
    /// Too cheap.
    #[error("{offered} per epoch are offered where {wanted} are asked")]
    Price {
        /// What is paid.
        offered: Amount,
        /// What it would take.
        wanted: Amount,
    },
    /// Too fast.
    #[error("answers within {offered} ms are asked for; this host promises {wanted} ms")]
    Hasty {
        /// What is asked.
        offered: u64,
        /// What is promised.
        wanted: u64,
    },
    /// Too late.
    #[error("the deal is over before a copy can be fetched")]
    Late,
}

impl Appetite {
    /// Whether a deal is taken.
    pub fn weigh(&self, deal: &Deal, now: Time) -> Result<(), Decline> {
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
            return Err(Decline::Hasty { offered, wanted });
        }
        if deal.until <= now.after_ms(deal.fetch_within_ms) {
            return Err(Decline::Late);
        }
        Ok(())
    }
}

/// One deal, on the side of a host that took it.
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
    /// `bundle` is sent until the owner says that this part came.
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

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostInput {
    /// Every shard is here, verified.
    Fetched,
    /// The owner has heard a part of the registration.
    Registered {
        /// Which. The last means that it has heard all.
        part: u32,
    },
    /// An auditor asks.
    Challenged(Beacon),
    /// The proofs that [`HostEffect::Prove`] asked for, in its order.
    Proven(Bundle),
    /// A shard is no longer what it was.
    Damaged,
    /// The deal goes on.
    Renewed {
        /// Until when.
        until: Time,
    },
    /// The owner wants this copy no longer.
    Released,
    /// A deadline passed.
    Tick,
}

/// Why a copy is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// The deal is over.
    Expired,
    /// The owner said so.
    Released,
    /// It could not be fetched, or registered, in time.
    Late,
}

/// What should happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEffect {
    /// Pin the shards and fetch what is missing.
    Fetch,
    /// Prove chunks: each a position among the deal's shards, and a chunk. The answer is a [`HostInput::Proven`], or a
    /// [`HostInput::Damaged`] where the bytes on disk no longer prove anything.
    Prove(Vec<(usize, u64)>),
    /// Tell the owner that everything is here, part by part.
    Register {
        /// Which part.
        part: u32,
        /// Its proofs.
        bundle: Bundle,
    },
    /// Sign these proofs and send them to whoever asked under this beacon.
    Answer(Beacon, Bundle),
    /// Unpin the shards.
    Forget(Forgotten),
}

impl Hosting {
    /// A deal that was weighed and taken now; gives it and begins to fetch.
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

    /// Which deal.
    pub const fn id(&self) -> DealId {
        self.id
    }

    /// Its terms.
    pub const fn deal(&self) -> &Deal {
        &self.deal
    }

    /// Whether the machine has nothing left to do.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether the owner knows that everything is here.
    pub const fn is_registered(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. })
    }

    /// One input.
    pub fn step(&mut self, now: Time, input: HostInput, todo: &mut Vec<HostEffect>) {
        if self.is_over() {
            return;
        }
        match (input, &mut self.phase) {
            (HostInput::Fetched, Phase::Fetching { due }) => {
                let due = *due;
                self.register(0, due, todo);
            }
            (HostInput::Fetched, Phase::Holding { .. } | Phase::Registering { .. } | Phase::Over) => (),
            (
                HostInput::Proven(built),
                Phase::Registering {
                    part, bundle, again, ..
                },
            ) => {
                // Nothing is said that was not checked here first.
                if bundle.is_none() && self.deal.registers(*part, &built).is_ok() {
                    *again = now.after_ms(AGAIN_MS);
                    *bundle = Some(built.clone());
                    let (part, bundle) = (*part, built);
                    todo.push(HostEffect::Register { part, bundle });
                }
            }
            (
                HostInput::Registered { part: heard },
                Phase::Registering {
                    part,
                    bundle: Some(_),
                    due,
                    ..
                },
            ) => {
                let (next, due) = (*part + 1, *due);
                if heard + 1 >= self.deal.parts() {
                    self.phase = Phase::Holding { proving: None };
                } else if heard == *part {
                    self.register(next, due, todo);
                }
            }
            // The auditor may hear of the registration before this host hears that it was heard.
            (HostInput::Challenged(beacon), phase @ Phase::Registering { bundle: Some(_), .. }) => {
                *phase = Phase::Holding { proving: None };
                self.challenge(beacon, todo);
            }
            (HostInput::Challenged(beacon), Phase::Holding { .. }) => self.challenge(beacon, todo),
            (HostInput::Proven(bundle), Phase::Holding { proving }) => {
                if let Some(beacon) = *proving
                    && bundle.verify(&self.deal.sample(&self.id, self.me, &beacon)).is_ok()
                {
                    *proving = None;
                    todo.push(HostEffect::Answer(beacon, bundle));
                }
            }
            (HostInput::Damaged, phase) => {
                // A copy that was registered stays registered; the next answers are missed until it is whole again.
                match phase {
                    Phase::Holding { proving } => *proving = None,
                    Phase::Registering { due, .. } => {
                        let due = *due;
                        *phase = Phase::Fetching { due };
                    }
                    Phase::Fetching { .. } | Phase::Over => (),
                }
                todo.push(HostEffect::Fetch);
            }
            (HostInput::Renewed { until }, _) => self.deal.until = self.deal.until.max(until),
            (HostInput::Released, _) => self.forget(Forgotten::Released, todo),
            (HostInput::Tick, _) => self.tick(now, todo),
            // A challenge before there is anything to prove, a word about what was never said: nothing.
            (HostInput::Registered { .. } | HostInput::Challenged(_) | HostInput::Proven(_), _) => (),
        }
    }

    /// When `step` next wants a [`HostInput::Tick`].
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

    fn challenge(&mut self, beacon: Beacon, todo: &mut Vec<HostEffect>) {
        let Phase::Holding { proving } = &mut self.phase else {
            return;
        };
        // Asked twice before it answered once, as auditors do: one piece of work. A later epoch ends an earlier one.
        if proving.is_some_and(|running| running.epoch >= beacon.epoch) {
            return;
        }
        *proving = Some(beacon);
        todo.push(HostEffect::Prove(self.deal.sample(&self.id, self.me, &beacon).draw()));
    }

    fn tick(&mut self, now: Time, todo: &mut Vec<HostEffect>) {
        if self.deal.until <= now {
            return self.forget(Forgotten::Expired, todo);
        }
        match &mut self.phase {
            Phase::Fetching { due } | Phase::Registering { due, .. } if *due <= now => {
                self.forget(Forgotten::Late, todo)
            }
            Phase::Registering {
                part,
                bundle: Some(bundle),
                again,
                ..
            } if *again <= now => {
                *again = now.after_ms(AGAIN_MS);
                let (part, bundle) = (*part, bundle.clone());
                todo.push(HostEffect::Register { part, bundle });
            }
            Phase::Fetching { .. } | Phase::Registering { .. } | Phase::Holding { .. } | Phase::Over => (),
        }
    }

    fn forget(&mut self, why: Forgotten, todo: &mut Vec<HostEffect>) {
        self.phase = Phase::Over;
        todo.push(HostEffect::Forget(why));
    }
}
