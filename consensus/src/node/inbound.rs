//! Messages from peers, from bytes to state changes.
//!
//! Everything is decoded under a size limit and its signatures are verified before it costs more. A message that
//! breaks a rule is dropped and its sender is reported.

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
    bft,
    execution::{Execution, ExecutionError},
    journal::Record,
    validator::Validator,
};

/// Messages kept for the height after the next until that height starts. More are dropped.
const EARLY_MAX: usize = 512;

impl<X: Execution> Node<X> {
    /// Decodes a gossiped message and gives the transport its verdict under `id`.
    pub(super) fn on_gossip(
        &mut self,
        now: Time,
        id: u64,
        from: NodeId,
        bytes: &[u8],
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        match codec::decode::<Gossip>(bytes, GOSSIP_MAX) {
            Ok(message) => self.check_gossip(now, id, from, message, todo),
            Err(_) => {
                todo.push(Effect::Verdict(id, Verdict::Reject));
                todo.push(Effect::Blame(from, Fault::Unreadable));
                Ok(())
            }
        }
    }

    /// Decides if a message is for now, for later or for nothing, and verifies it before it is applied.
    fn check_gossip(
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
            // A peer that votes at a height has all blocks below it; one that sends a certificate has that block
            // too.
            let has = if decides {
                height
            } else {
                Height(height.0.saturating_sub(1))
            };
            self.sync.peer_tip(now, from, has, self.tip.height);
        }
        if height == next.next() && self.early.len() < EARLY_MAX {
            self.early.push((id, from, message));
            return Ok(());
        }
        if height != next {
            todo.push(Effect::Verdict(id, Verdict::Ignore));
            // The peer is behind, so it gets the tip to ask for blocks.
            if height < self.tip.height {
                todo.push(Effect::Send(from, self.status()));
            }
            return Ok(());
        }
        if !self.signatures_hold(&message) {
            todo.push(Effect::Verdict(id, Verdict::Reject));
            todo.push(Effect::Blame(from, Fault::Unsigned));
            return Ok(());
        }
        todo.push(Effect::Verdict(id, Verdict::Accept));
        self.apply_gossip(now, message, todo)
    }

    /// Returns true if every signature in a message about the next height is a validator's.
    fn signatures_hold(&self, message: &Gossip) -> bool {
        match message {
            Gossip::Vote(vote) => self.signed_by(vote, &vote.message.validator),
            Gossip::Proposal(proposal) => {
                let content = &proposal.message;
                let expected = self.voting.proposer(content.height, content.round).key;
                expected == content.proposer && self.signed_by(proposal, &expected)
            }
            Gossip::Polka(certificate) => {
                let known = certificate.signatures.len() <= self.voting.validators().len();
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
                let known = certificate.votes.len() <= 2 * self.voting.validators().len();
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
        let check = |validator: &Validator| match &self.bft {
            Some(bft) => bft.verifies(signed, validator),
            None => signed.verify(author, &self.params.domain),
        };
        self.voting.get(author).is_some_and(check)
    }

    /// Applies a message about the next height whose signatures are verified.
    fn apply_gossip(&mut self, now: Time, message: Gossip, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        if let Gossip::Decided(certificate) = message {
            return self.on_decision(now, certificate, todo);
        }
        if !self.running && self.may_sign() {
            // A peer has started this height, so this node starts it too.
            self.start_height(now, todo)?;
        }
        let height = self.tip.height;
        // The core first: with the votes that it has already, this proposal may decide the height.
        if let Gossip::Proposal(proposal) = &message {
            let content = &proposal.message;
            let (block, by) = (content.block, (content.round, content.proposer));
            self.step_bft(now, bft::Input::Proposal(proposal.clone()), todo)?;
            if self.tip.height == height {
                self.want_block(now, block, Some(by), todo)?;
            }
            return Ok(());
        }
        let input = match message {
            Gossip::Vote(vote) => bft::Input::Vote(vote),
            Gossip::Polka(certificate) => bft::Input::Polka(certificate),
            Gossip::Rounds(certificate) => bft::Input::Rounds(certificate),
            Gossip::Proposal(_) | Gossip::Decided(_) => unreachable!("taken above"),
        };
        self.step_bft(now, input, todo)
    }

    fn on_decision(
        &mut self,
        now: Time,
        certificate: Certificate,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let block = certificate.block;
        self.decided.get_or_insert(certificate);
        self.want_block(now, block, None, todo)
    }

    /// Registers a block that a proposal or a certificate names, and executes it if its body is here. A block that
    /// was executed before is reported to the vote again, for the new round.
    fn want_block(
        &mut self,
        now: Time,
        block: BlockHash,
        proposal: Option<(u32, ValidatorKey)>,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let Some(known) = self.candidates.want(now, block, proposal) else {
            return Ok(());
        };
        match known.valid {
            Some(valid) => self.executed(now, block, valid, todo),
            None if known.body.is_some() => self.execute(now, block, todo),
            None => Ok(()),
        }
    }

    fn execute(&mut self, now: Time, block: BlockHash, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        let known = self.candidates.get(&block).expect("only named blocks are executed");
        let body = known.body.clone().expect("only blocks that are here are executed");
        let refusal = self.check_body(now, &body)?;
        if let Some(why) = &refusal {
            let height = self.tip.height.next();
            todo.push(Effect::Event(Event::Refused {
                height,
                why: why.clone(),
            }));
        } else if self.may_sign() {
            // A validator that votes for a block must be able to serve its body, after a crash too.
            self.journal(&Record::Body(body), todo);
        }
        let valid = refusal.is_none();
        self.candidates.get_mut(&block).expect("still named").valid = Some(valid);
        self.executed(now, block, valid, todo)
    }

    /// Returns the reason that no honest node votes for this block; `None` if the block is valid.
    pub(super) fn check_body(&mut self, now: Time, body: &Body) -> Result<Option<String>, ExecutionError> {
        let (parent, next) = (&body.parent_certificate, self.tip.height.next());
        if parent.block != self.tip.hash || parent.height != self.tip.height {
            return Ok(Some(format!(
                "its parent certificate is for {:#}, the tip is {:#}",
                parent.block, self.tip.hash
            )));
        }
        // This node verified its own certificate of the tip when it committed the tip.
        if self.tip.height > Height(0)
            && *parent != self.tip_certificate
            && let Err(error) = self.previous_validators.check(parent, &self.params.domain)
        {
            return Ok(Some(format!("its parent certificate proves nothing: {error}")));
        }
        let accounts = self.voting.accounts();
        let verdict = self.exec.verify(&body.block, next, now, parent.digest(), &accounts)?;
        Ok(verdict.err().map(|refusal| refusal.to_string()))
    }

    /// Passes the result of executing a block to the core; commits the block if a quorum has decided for it already.
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
            return self.on_decided(now, certificate, Vec::new(), todo);
        }
        let height = self.tip.height;
        let proposals = self
            .candidates
            .get(&block)
            .map(|known| known.proposals.clone())
            .unwrap_or_default();
        for (round, proposer) in proposals {
            if self.tip.height == height {
                self.step_bft(
                    now,
                    bft::Input::Executed {
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

    pub(super) fn on_direct(
        &mut self,
        now: Time,
        from: NodeId,
        bytes: &[u8],
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        match codec::decode::<Direct>(bytes, BODY_MAX) {
            Ok(Direct::Status { tip }) => {
                self.sync.peer_tip(now, from, tip, self.tip.height);
                Ok(())
            }
            Ok(Direct::Body(body)) => self.on_body(now, from, body, todo),
            Err(_) => {
                todo.push(Effect::Blame(from, Fault::Unreadable));
                Ok(())
            }
        }
    }

    fn on_body(&mut self, now: Time, from: NodeId, body: Body, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        if body.height != self.tip.height.next() {
            return Ok(());
        }
        // The header contains the digest of the certificate. A relay therefore cannot swap the certificate and make
        // this node refuse a valid block.
        match self.exec.header_claim(&body.block) {
            Some(named) if named.parent_certificate == body.parent_certificate.digest() => {
                if self.candidates.add_body(from, named.hash, body) {
                    self.execute(now, named.hash, todo)?;
                }
            }
            Some(_) | None => todo.push(Effect::Blame(from, Fault::BodyMismatch)),
        }
        Ok(())
    }

    pub(super) fn on_request(&mut self, request_id: u64, from: NodeId, bytes: &[u8], todo: &mut Vec<Effect>) {
        match codec::decode::<ChainRequest>(bytes, REQUEST_MAX) {
            Ok(ChainRequest::Blocks { from, count }) => {
                todo.push(Effect::ReplyBlocks {
                    request_id,
                    from,
                    count: count.min(BLOCKS_MAX),
                });
            }
            Ok(ChainRequest::Body { height, block }) => {
                let current = height == self.tip.height.next();
                let body = self
                    .candidates
                    .get(&block)
                    .filter(|_| current)
                    .and_then(|known| known.body.clone());
                todo.push(Effect::Reply(request_id, codec::encode(&ChainReply::Body(body))));
            }
            Err(_) => todo.push(Effect::Blame(from, Fault::Unreadable)),
        }
    }

    pub(super) fn on_reply(
        &mut self,
        now: Time,
        request_id: u64,
        from: NodeId,
        bytes: Option<Vec<u8>>,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        let for_blocks = self.sync.close(request_id);
        let Some(bytes) = bytes else {
            if for_blocks {
                self.sync.lower_tip(from, self.tip.height);
            }
            return Ok(());
        };
        match codec::decode::<ChainReply>(&bytes, REPLY_MAX) {
            Ok(ChainReply::Blocks(entries)) if for_blocks => self.catch_up(now, from, &entries, todo),
            Ok(ChainReply::Body(Some(body))) => self.on_body(now, from, body, todo),
            Ok(ChainReply::Body(None) | ChainReply::Blocks(_)) => Ok(()),
            Err(_) => {
                self.sync.lower_tip(from, self.tip.height);
                todo.push(Effect::Blame(from, Fault::Unreadable));
                Ok(())
            }
        }
    }

    /// Handles the messages that came early for the height that is now the next one.
    pub(super) fn replay_early(&mut self, now: Time, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        for (id, from, message) in std::mem::take(&mut self.early) {
            self.check_gossip(now, id, from, message, todo)?;
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
