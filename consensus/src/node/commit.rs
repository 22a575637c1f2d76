//! A block becomes final: it is logged, then forgotten by the mempool, then shown, in this order.

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
    /// A quorum made a block final, and its body is here and executed.
    pub(super) fn finish(
        &mut self,
        now: Time,
        certificate: Certificate,
        evidence: Vec<Evidence>,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let known = self
            .bodies
            .get_mut(&certificate.block)
            .expect("what is decided here was executed here");
        let body = known.body.take().expect("what was executed here is here");
        // The executor remembers a bounded number of blocks; a liar's many proposals may have pushed this one out.
        if self.exec.pending_block(certificate.block).is_none()
            && let Some(why) = self.check_body(Time(u64::MAX), &body)?
        {
            return Err(ExecutionError {
                what: format!("a block that was executed before is refused: {why}"),
                source: None,
            });
        }
        let led = self.engine.as_ref().is_some_and(|engine| {
            self.running && self.voting.proposer(certificate.height, certificate.round).key == engine.validator()
        });
        self.commit(now, body, certificate, evidence, todo)?;
        todo.push(Effect::LogSync);
        self.publish_commit(todo);
        if led {
            // Votes may get lost; one certificate tells everyone, followers first of all.
            todo.push(Effect::Gossip(codec::encode(&Gossip::Decided(self.last.clone()))));
        }
        self.replay_early(now, todo)
    }

    /// Makes an executed block the tip. The caller syncs the log, at once or after a batch, and then shows the block.
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

        self.speak(todo);
        for one in &evidence {
            todo.push(Effect::Happened(Event::Equivocated {
                validator: one.offender(),
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
        self.before = self.voting.clone();
        self.tip = committed.tip;
        self.last = certificate;
        let took = std::mem::take(&mut self.running).then(|| now.since(self.began_at));
        self.decided = None;
        self.bodies.clear();
        self.committed_at = now;
        self.sync.advanced(now, height);
        if let Some(stakers) = &committed.next_validators {
            self.change_validators(stakers, todo);
        }
        let (block, transactions) = (committed.tip.hash, committed.transactions);
        self.shown.push(Effect::Committed(Box::new(committed)));
        self.shown.push(Effect::Happened(Event::Committed {
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
            Err(error) => unreachable!("execution changes the set only for a usable one: {error}"),
        }
        todo.push(Effect::Happened(Event::EpochStarted {
            height: self.tip.height.next(),
            validators: self.voting.voters().len(),
            voting: self.votes(),
        }));
    }

    /// The log is synced: the journal may move on, and the blocks may be shown.
    pub(super) fn publish_commit(&mut self, todo: &mut Vec<Effect>) {
        let next = self.tip.height.next();
        // A node that does not know what it said keeps its journal as it is until that lies behind it.
        let known = match self.signing {
            Signing::On => true,
            Signing::After(height) => self.tip.height >= height,
            Signing::Keyless | Signing::Stopped(_) => false,
        };
        if known {
            todo.push(Effect::JournalStart(next));
        }
        todo.append(&mut self.shown);
    }
}
