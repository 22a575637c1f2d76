//! An auditor's side of one host in one deal: ask when the beacon comes, judge what is answered, or that nothing is.

use super::{AGAIN_MS, Deal, DealId};
use crate::{
    NodeId, Time,
    crypto::{Domain, Signed},
    proof::{Beacon, Bundle},
    receipt::{Answer, FalseProof, Outcome, StorageReceipt},
};

/// One host of one deal under audit.
#[derive(Clone, Debug)]
pub struct Audit {
    deal: Deal,
    id: DealId,
    host: NodeId,
    me: NodeId,
    domain: Domain,
    /// The last epoch that was judged or is being.
    epoch: Option<u64>,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    beacon: Beacon,
    again: Time,
    due: Time,
}

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditInput {
    /// An epoch began with this randomness, and this node was drawn to audit.
    Epoch(Beacon),
    /// What the host sent.
    Answered(Signed<Answer>, Bundle),
    /// A deadline passed.
    Tick,
}

/// What should happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditEffect {
    /// Send the host the challenge.
    Challenge(Beacon),
    /// Sign and publish a verdict.
    Verdict(StorageReceipt),
    /// Put the host's own word before the chain.
    Accuse(Box<FalseProof>),
}

impl Audit {
    /// Audits `host` under `deal`, in the name of `me`.
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

    /// One input.
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
                    again: now.after_ms(AGAIN_MS),
                    due: now.after_ms(self.deal.answer_within_ms),
                });
                todo.push(AuditEffect::Challenge(beacon));
            }
            AuditInput::Answered(answer, bundle) => self.answer(now, answer, bundle, todo),
            AuditInput::Tick => self.tick(now, todo),
        }
    }

    /// When `step` next wants an [`AuditInput::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        self.waiting.map(|waiting| waiting.again.min(waiting.due))
    }

    fn answer(&mut self, now: Time, answer: Signed<Answer>, bundle: Bundle, todo: &mut Vec<AuditEffect>) {
        let Some(waiting) = self.waiting else { return };
        let said = &answer.message;
        let ours = said.deal == self.id && said.host == self.host && said.beacon == waiting.beacon;
        let hash = bundle.hash();
        // Anybody can send rubbish in a host's name. What the host did not sign is as good as nothing.
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
            waiting.again = now.after_ms(AGAIN_MS);
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
