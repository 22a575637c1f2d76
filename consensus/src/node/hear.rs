//! What peers say, from bytes to consequences. Everything is decoded under a limit and checked before it costs anything;
//! what breaks a rule is dropped, and whoever sent it is blamed.

use protocol::{
    BlockHash, Height, NodeId, Time, ValidatorKey, codec,
    crypto::{Preimage, Signed},
    event::Event,
    message::{
        chain::{
            BLOCKS_MAX, BODY_MAX, Body, ChainReply, ChainRequest, Direct, GOSSIP_MAX, Gossip, REPLY_MAX, REQUEST_MAX,
        },
        vote::{Certificate, VoteKind},
    },
};

use super::{Effect, Fault, Node, Verdict};
use crate::{
    engine,
    execution::{Execution, ExecutionError},
    journal::Record,
    validator::Validator,
};

/// Messages for the height after the next that are kept until it begins.
const EARLY_MAX: usize = 512;

impl<X: Execution> Node<X> {
    pub(super) fn hear_gossip(
        &mut self,
        now: Time,
        id: u64,
        from: NodeId,
        bytes: &[u8],
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        match codec::decode::<Gossip>(bytes, GOSSIP_MAX) {
            Ok(message) => self.consider(now, id, from, message, todo),
            Err(_) => {
                todo.push(Effect::Verdict(id, Verdict::Reject));
                todo.push(Effect::Blame(from, Fault::Unreadable));
                Ok(())
            }
        }
    }

    fn consider(
        &mut self,
        now: Time,
        id: u64,
        from: NodeId,
        message: Gossip,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let (height, next) = (height_of(&message), self.tip.height.next());
        let decides = matches!(message, Gossip::Decided(_));
        if height > next || decides {
            // Whoever speaks about a height has all before it; whoever calls it decided has it too.
            let has = if decides {
                height
            } else {
                Height(height.0.saturating_sub(1))
            };
            self.sync.saw(now, from, has, self.tip.height);
        }
        if height == next.next() && self.early.len() < EARLY_MAX {
            self.early.push((id, from, message));
            return Ok(());
        }
        if height != next {
            todo.push(Effect::Verdict(id, Verdict::Ignore));
            if height < self.tip.height {
                todo.push(Effect::Send(from, self.status()));
            }
            return Ok(());
        }
        if !self.is_signed(&message) {
            todo.push(Effect::Verdict(id, Verdict::Reject));
            todo.push(Effect::Blame(from, Fault::Unsigned));
            return Ok(());
        }
        todo.push(Effect::Verdict(id, Verdict::Accept));
        self.take(now, message, todo)
    }

    /// Whether every signature in a message about the next height is a validator's.
    fn is_signed(&self, message: &Gossip) -> bool {
        match message {
            Gossip::Vote(vote) => self.signed_by(vote, &vote.message.validator),
            Gossip::Proposal(proposal) => {
                let said = &proposal.message;
                let turn = self.voting.proposer(said.height, said.round).key;
                turn == said.proposer && self.signed_by(proposal, &turn)
            }
            Gossip::Polka(certificate) => {
                let known = certificate.signatures.len() <= self.voting.voters().len();
                known
                    && certificate.signatures.iter().all(|(key, signature)| {
                        let message = certificate.vote(VoteKind::Prevote, *key);
                        self.signed_by(
                            &Signed {
                                message,
                                signature: *signature,
                            },
                            key,
                        )
                    })
            }
            Gossip::Rounds(certificate) => {
                let slot = (certificate.height, certificate.round);
                let known = certificate.votes.len() <= 2 * self.voting.voters().len();
                known
                    && certificate.votes.iter().all(|vote| {
                        (vote.message.height, vote.message.round) == slot
                            && self.signed_by(vote, &vote.message.validator)
                    })
            }
            Gossip::Decided(certificate) => self.voting.check(certificate, &self.params.domain).is_ok(),
        }
    }

    fn signed_by<T: Preimage>(&self, signed: &Signed<T>, author: &ValidatorKey) -> bool {
        let check = |voter: &Validator| match &self.engine {
            Some(engine) => engine.verifies(signed, voter),
            None => signed.verify(author, &self.params.domain),
        };
        self.voting.get(author).is_some_and(check)
    }

    /// Acts on a message about the next height whose signatures hold.
    fn take(&mut self, now: Time, message: Gossip, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        if let Gossip::Decided(certificate) = message {
            return self.take_decision(now, certificate, todo);
        }
        if !self.running && self.votes() {
            // A peer has begun this height: so do we.
            self.begin(now, todo)?;
        }
        let height = self.tip.height;
        if let Gossip::Proposal(proposal) = &message {
            let said = &proposal.message;
            let (block, by) = (said.block, (said.round, said.proposer));
            self.vote(now, engine::Input::Proposal(proposal.clone()), todo)?;
            if self.tip.height == height {
                self.name(now, block, Some(by), todo)?;
            }
            return Ok(());
        }
        let input = match message {
            Gossip::Vote(vote) => engine::Input::Vote(vote),
            Gossip::Polka(certificate) => engine::Input::Polka(certificate),
            Gossip::Rounds(certificate) => engine::Input::Rounds(certificate),
            Gossip::Proposal(_) | Gossip::Decided(_) => unreachable!("taken above"),
        };
        self.vote(now, input, todo)
    }

    fn take_decision(
        &mut self,
        now: Time,
        certificate: Certificate,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let block = certificate.block;
        self.decided.get_or_insert(certificate);
        self.name(now, block, None, todo)
    }

    /// A block of the next height is wanted: executes it once it is here, and tells the engine whose it is.
    fn name(
        &mut self,
        now: Time,
        block: BlockHash,
        proposal: Option<(u32, ValidatorKey)>,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let Some(known) = self.bodies.name(now, block, proposal) else {
            return Ok(());
        };
        match known.valid {
            Some(valid) => self.executed(now, block, valid, todo),
            None if known.body.is_some() => self.execute(now, block, todo),
            None => Ok(()),
        }
    }

    fn execute(&mut self, now: Time, block: BlockHash, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        let known = self.bodies.get(&block).expect("only named blocks are executed");
        let body = known.body.clone().expect("only blocks that are here are executed");
        let refusal = self.check_body(now, &body)?;
        if let Some(why) = &refusal {
            let height = self.tip.height.next();
            todo.push(Effect::Happened(Event::Refused {
                height,
                why: why.clone(),
            }));
        } else if self.votes() {
            // Whoever votes for a block must be able to show it, after a crash too.
            self.journal(&Record::Body(body), todo);
        }
        let valid = refusal.is_none();
        self.bodies.get_mut(&block).expect("still named").valid = Some(valid);
        self.executed(now, block, valid, todo)
    }

    /// Why no honest node votes for this block; `None` if it is good.
    pub(super) fn check_body(&mut self, now: Time, body: &Body) -> Result<Option<String>, ExecutionError> {
        let (parent, next) = (&body.parent_certificate, self.tip.height.next());
        if parent.block != self.tip.hash || parent.height != self.tip.height {
            return Ok(Some(format!(
                "its parent certificate is for {:#}, the tip is {:#}",
                parent.block, self.tip.hash
            )));
        }
        // Our own certificate of the tip was checked when it was made.
        if self.tip.height > Height(0)
            && *parent != self.last
            && let Err(error) = self.before.check(parent, &self.params.domain)
        {
            return Ok(Some(format!("its parent certificate proves nothing: {error}")));
        }
        let accounts = self.voting.accounts();
        let verdict = self.exec.verify(&body.block, next, now, parent.digest(), &accounts)?;
        Ok(verdict.err().map(|refusal| refusal.to_string()))
    }

    fn executed(
        &mut self,
        now: Time,
        block: BlockHash,
        valid: bool,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        if let Some(certificate) = self.decided.take_if(|decided| decided.block == block) {
            if !valid {
                let what = format!("a quorum made block {block} final and this node refuses it: its state differs");
                return Err(ExecutionError { what, source: None });
            }
            return self.finish(now, certificate, Vec::new(), todo);
        }
        let height = self.tip.height;
        let proposals = self
            .bodies
            .get(&block)
            .map(|known| known.proposals.clone())
            .unwrap_or_default();
        for (round, proposer) in proposals {
            if self.tip.height == height {
                self.vote(
                    now,
                    engine::Input::Executed {
                        round,
                        proposer,
                        block,
                        valid,
                    },
                    todo,
                )?;
            }
        }
        Ok(())
    }

    pub(super) fn hear_direct(
        &mut self,
        now: Time,
        from: NodeId,
        bytes: &[u8],
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        match codec::decode::<Direct>(bytes, BODY_MAX) {
            Ok(Direct::Status { tip }) => {
                self.sync.saw(now, from, tip, self.tip.height);
                Ok(())
            }
            Ok(Direct::Body(body)) => self.hear_body(now, from, body, todo),
            Err(_) => {
                todo.push(Effect::Blame(from, Fault::Unreadable));
                Ok(())
            }
        }
    }

    fn hear_body(&mut self, now: Time, from: NodeId, body: Body, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        if body.height != self.tip.height.next() {
            return Ok(());
        }
        // The certificate is bound to the block by its digest in the header, so a relay cannot swap it and have us call
        // a good block bad.
        match self.exec.name(&body.block) {
            Some(named) if named.parent_certificate == body.parent_certificate.digest() => {
                if self.bodies.came(from, named.hash, body) {
                    self.execute(now, named.hash, todo)?;
                }
            }
            Some(_) | None => todo.push(Effect::Blame(from, Fault::BodyMismatch)),
        }
        Ok(())
    }

    pub(super) fn hear_question(&mut self, ticket: u64, from: NodeId, bytes: &[u8], todo: &mut Vec<Effect>) {
        match codec::decode::<ChainRequest>(bytes, REQUEST_MAX) {
            Ok(ChainRequest::Blocks { from, count }) => {
                todo.push(Effect::AnswerBlocks {
                    ticket,
                    from,
                    count: count.min(BLOCKS_MAX),
                });
            }
            Ok(ChainRequest::Body { height, block }) => {
                let ours = height == self.tip.height.next();
                let body = self
                    .bodies
                    .get(&block)
                    .filter(|_| ours)
                    .and_then(|known| known.body.clone());
                todo.push(Effect::Answer(ticket, codec::encode(&ChainReply::Body(body))));
            }
            Err(_) => todo.push(Effect::Blame(from, Fault::Unreadable)),
        }
    }

    pub(super) fn hear_answer(
        &mut self,
        now: Time,
        ticket: u64,
        from: NodeId,
        bytes: Option<Vec<u8>>,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let for_blocks = self.sync.close(ticket);
        let Some(bytes) = bytes else {
            if for_blocks {
                self.sync.doubt(from, self.tip.height);
            }
            return Ok(());
        };
        match codec::decode::<ChainReply>(&bytes, REPLY_MAX) {
            Ok(ChainReply::Blocks(entries)) if for_blocks => self.catch_up(now, from, &entries, todo),
            Ok(ChainReply::Body(Some(body))) => self.hear_body(now, from, body, todo),
            Ok(ChainReply::Body(None) | ChainReply::Blocks(_)) => Ok(()),
            Err(_) => {
                self.sync.doubt(from, self.tip.height);
                todo.push(Effect::Blame(from, Fault::Unreadable));
                Ok(())
            }
        }
    }

    /// The next height is ours to decide: what was said about it too early is considered now.
    pub(super) fn replay_early(&mut self, now: Time, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        for (id, from, message) in std::mem::take(&mut self.early) {
            self.consider(now, id, from, message, todo)?;
        }
        Ok(())
    }
}

fn height_of(message: &Gossip) -> Height {
    match message {
        Gossip::Vote(vote) => vote.message.height,
        Gossip::Proposal(proposal) => proposal.message.height,
        Gossip::Polka(certificate) | Gossip::Decided(certificate) => certificate.height,
        Gossip::Rounds(certificate) => certificate.height,
    }
}
