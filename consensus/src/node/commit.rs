//! Makes a block final: it is logged, removed from the mempool and published, in this order.

use protocol::{
    Time, codec,
    event::Event,
    message::{
        chain::{Body, Entry, Gossip},
        vote::{Certificate, Evidence},
    },
};

use super::{Effect, Node, Signing};
use crate::{
    execution::{Execution, ExecutionError, Staker},
    validator::ValidatorSet,
};

impl<X: Execution> Node<X> {
    /// Commits a block that a quorum decided for. Its body is here and executed.
    pub(super) fn on_decided(
        &mut self,
        now: Time,
        certificate: Certificate,
        evidence: Vec<Evidence>,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let known = self
            .candidates
            .get_mut(&certificate.block)
            .expect("a block is decided here after it was executed here");
        let body = known.body.take().expect("an executed block has its body");
        // The execution keeps a bounded number of pending blocks; many proposals of a malicious validator may have
        // displaced this one.
        if self.exec.pending_block(certificate.block).is_none()
            && let Some(why) = self.check_body(Time(u64::MAX), &body)?
        {
            return Err(ExecutionError {
                what: format!("a block that was executed before is refused: {why}"),
                source: None,
            });
        }
        let led = self.bft.as_ref().is_some_and(|bft| {
            self.running && self.voting.proposer(certificate.height, certificate.round).key == bft.validator()
        });
        self.commit(now, body, certificate, evidence, todo)?;
        todo.push(Effect::LogSync);
        self.publish_commit(todo);
        if led {
            // Votes may get lost. One certificate is enough for every node, above all for those without a vote.
            todo.push(Effect::Gossip(codec::encode(&Gossip::Decided(
                self.tip_certificate.clone(),
            ))));
        }
        self.replay_early(now, todo)
    }

    /// Makes an executed block the tip. The caller syncs the log, after this block or after a batch, and then
    /// publishes.
    pub(super) fn commit(
        &mut self,
        now: Time,
        body: Body,
        certificate: Certificate,
        evidence: Vec<Evidence>,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let height = self.tip.height.next();
        assert_eq!(certificate.height, height, "blocks are committed in order");
        let committed = self.exec.commit(certificate.block)?;
        assert_eq!((committed.tip.height, committed.tip.hash), (height, certificate.block));

        // Messages of this height go out before its journal is given up.
        self.release_outgoing(todo);
        for evidence in &evidence {
            todo.push(Effect::Event(Event::Equivocated {
                validator: evidence.offender(),
                height,
            }));
        }
        let round = certificate.round;
        let entry = Entry {
            block: body.block,
            parent_certificate: body.parent_certificate,
            certificate: certificate.clone(),
            evidence,
        };
        todo.push(Effect::Log {
            height,
            entry: codec::encode(&entry),
        });

        self.pool.included(&committed.included);
        self.previous_validators = self.voting.clone();
        self.tip = committed.tip;
        self.tip_certificate = certificate;
        let took = std::mem::take(&mut self.running).then(|| now.since(self.started_at));
        self.decided = None;
        self.candidates.clear();
        self.committed_at = now;
        self.sync.advanced(now, height);
        if let Some(stakers) = &committed.next_validators {
            self.change_validators(stakers, todo);
        }
        let (block, transactions) = (committed.tip.hash, committed.transactions);
        self.after_log_sync.push(Effect::Committed(Box::new(committed)));
        self.after_log_sync.push(Effect::Event(Event::Committed {
            height,
            block,
            transactions,
            round,
            took,
        }));
        Ok(())
    }

    fn change_validators(&mut self, stakers: &[Staker], todo: &mut Vec<Effect>) {
        match ValidatorSet::new(stakers) {
            Ok(set) => self.voting = set,
            Err(error) => unreachable!("execution reports only usable validator sets: {error}"),
        }
        todo.push(Effect::Event(Event::EpochStarted {
            height: self.tip.height.next(),
            validators: self.voting.validators().len(),
            voting: self.may_sign(),
        }));
    }

    /// Publishes committed blocks, once the log is synced: the journal may move on to the next height.
    pub(super) fn publish_commit(&mut self, todo: &mut Vec<Effect>) {
        let next = self.tip.height.next();
        // A node that does not know what it signed keeps its journal until the heights in question are final.
        let known = match self.signing {
            Signing::On => true,
            Signing::After(height) => self.tip.height >= height,
            Signing::Keyless | Signing::Stopped(_) => false,
        };
        if known {
            todo.push(Effect::JournalStart(next));
        }
        todo.append(&mut self.after_log_sync);
    }
}
