//! The auditor's state machine for one host of one deal: challenge it when an epoch's beacon is known, verify the
//! reply, or record a miss at the deadline.

use super::{Deal, DealId, RESEND_MS};
use crate::{
    NodeId, Time,
    crypto::{Domain, Signed},
    proof::{Beacon, Bundle},
    receipt::{FalseProof, Outcome, StorageAnswer, StorageReceipt},
};

/// One audited host of one deal. At most one challenge is open; a new epoch closes the previous one as missed.
#[derive(Clone, Debug)]
pub struct Audit {
    deal: Deal,
    id: DealId,
    host: NodeId,
    me: NodeId,
    domain: Domain,
    /// The latest epoch that was challenged.
    epoch: Option<u64>,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    beacon: Beacon,
    again: Time,
    due: Time,
}

/// An input of [`Audit::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditInput {
    /// An epoch began with this randomness, and this node was drawn as auditor.
    Epoch(Beacon),
    /// The host's reply.
    Answered(Signed<StorageAnswer>, Bundle),
    Tick,
}

/// An effect that the caller performs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditEffect {
    /// Send the challenge to the host.
    Challenge(Beacon),
    /// Sign the verdict and publish it.
    Verdict(StorageReceipt),
    /// Submit the host's false proof to the chain.
    Accuse(Box<FalseProof>),
}

impl Audit {
    /// Creates the audit of `host` under `deal`; `me` is the auditor in the receipts.
    pub fn new(deal: Deal, host: NodeId, me: NodeId, domain: Domain) -> Self {
        Self {
            id: deal.id(),
            deal,
            host,
            me,
            domain,
            epoch: None,
            waiting: None,
        }
    }

    /// Processes one input at time `now` and appends the effects to `todo`.
    pub fn step(&mut self, now: Time, input: AuditInput, todo: &mut Vec<AuditEffect>) {
        match input {
            AuditInput::Epoch(beacon) => {
                if self.epoch.is_some_and(|epoch| beacon.epoch <= epoch) {
                    return;
                }
                if self.waiting.is_some() {
                    self.judge(now, Outcome::Missed, [0; 32], todo);
                }
                self.epoch = Some(beacon.epoch);
                self.waiting = Some(Waiting {
                    beacon,
                    again: now.after_ms(RESEND_MS),
                    due: now.after_ms(self.deal.answer_within_ms),
                });
                todo.push(AuditEffect::Challenge(beacon));
            }
            AuditInput::Answered(answer, bundle) => self.answer(now, answer, bundle, todo),
            AuditInput::Tick => self.tick(now, todo),
        }
    }

    /// Returns the time at which `step` needs the next [`AuditInput::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        self.waiting.map(|waiting| waiting.again.min(waiting.due))
    }

    fn answer(&mut self, now: Time, answer: Signed<StorageAnswer>, bundle: Bundle, todo: &mut Vec<AuditEffect>) {
        let Some(waiting) = self.waiting else { return };
        let said = &answer.message;
        let ours = said.deal == self.id && said.host == self.host && said.beacon == waiting.beacon;
        let hash = bundle.hash();
        // Anyone can send bytes in a host's name. A reply without the host's signature is ignored, not counted against
        // it.
        if !ours || said.bundle != hash || !answer.is_authentic(&self.domain) || waiting.due <= now {
            return;
        }
        let sample = self.deal.sample(&self.id, self.host, &waiting.beacon);
        if bundle.verify(&sample).is_ok() {
            return self.judge(now, Outcome::Held, hash, todo);
        }
        self.judge(now, Outcome::False, hash, todo);
        todo.push(AuditEffect::Accuse(Box::new(FalseProof { answer, bundle })));
    }

    fn tick(&mut self, now: Time, todo: &mut Vec<AuditEffect>) {
        let Some(waiting) = &mut self.waiting else { return };
        if waiting.due <= now {
            return self.judge(now, Outcome::Missed, [0; 32], todo);
        }
        if waiting.again <= now {
            waiting.again = now.after_ms(RESEND_MS);
            todo.push(AuditEffect::Challenge(waiting.beacon));
        }
    }

    fn judge(&mut self, at: Time, outcome: Outcome, bundle: [u8; 32], todo: &mut Vec<AuditEffect>) {
        let waiting = self.waiting.take().expect("only an open challenge is judged");
        todo.push(AuditEffect::Verdict(StorageReceipt {
            deal: self.id,
            host: self.host,
            auditor: self.me,
            epoch: waiting.beacon.epoch,
            outcome,
            bundle,
            at,
        }));
    }
}
