//! What answers the core while it runs: signs and checks at once, and notes everything else for later.

use futures::FutureExt;
use malachite_core::{
    ConsensusMsg, Effect as CoreEffect, Error as CoreError, LivenessMsg, MisbehaviorEvidence, Resumable, Resume,
    SignedConsensusMsg,
};
use malachite_signing::VerifierExt;
use malachite_types::{CertificateError, SignedMessage, Timeout};
use protocol::{
    crypto::{Domain, Preimage, SecretKey},
    message::{
        chain::Gossip,
        vote::{Certificate, Evidence},
    },
};

use super::{Effect, inputs::record};
use crate::{
    context::Ours,
    verdicts::Verdicts,
    wire::{commit_out, number, polka_out, proposal_out, rounds_out, signed_proposal_out, signed_vote_out, vote_out},
};

/// What answers the core while it runs.
pub(super) struct Voice {
    pub(super) key: SecretKey,
    pub(super) domain: Domain,
    pub(super) verdicts: Verdicts,
    pub(super) replaying: bool,
}

/// What the core asked for in one run, in order.
pub(super) enum Asked {
    Do(Effect),
    Arm(Timeout),
    Disarm(Timeout),
    DisarmAll,
    Decided(Certificate),
    Finalized(Vec<Evidence>),
}

impl Voice {
    /// Answers the core at once where it needs an answer, and notes everything else.
    pub(super) fn answer(
        &self,
        effect: CoreEffect<Ours>,
        asked: &mut Vec<Asked>,
    ) -> Result<Resume<Ours>, CoreError<Ours>> {
        let publish = |message| Asked::Do(Effect::Publish(message));
        Ok(match effect {
            CoreEffect::CancelAllTimeouts(then) => note(asked, Asked::DisarmAll, then),
            CoreEffect::CancelTimeout(timeout, then) => note(asked, Asked::Disarm(timeout), then),
            CoreEffect::ScheduleTimeout(timeout, then) => note(asked, Asked::Arm(timeout), then),
            CoreEffect::StartRound(_, _, _, _, then) => then.resume_with(()),
            CoreEffect::PublishConsensusMsg(message, then) => note(asked, publish(spoken(&message)), then),
            CoreEffect::PublishLivenessMsg(message, then) => note(asked, publish(repeated(&message)), then),
            CoreEffect::RepublishVote(vote, then) => note(asked, publish(Gossip::Vote(signed_vote_out(&vote))), then),
            CoreEffect::RepublishRoundCertificate(certificate, then) => {
                note(asked, publish(Gossip::Rounds(rounds_out(&certificate))), then)
            }
            CoreEffect::GetValue(_, round, _, then) => {
                let round = number(round).expect("blocks are built in real rounds");
                note(asked, Asked::Do(Effect::Build { round }), then)
            }
            CoreEffect::RestreamProposal(_, round, _, _, block, then) => {
                let round = number(round).expect("blocks are proposed in real rounds");
                note(asked, Asked::Do(Effect::Restream { round, block: block.0 }), then)
            }
            CoreEffect::WalAppend(_, input, then) => match record(&input).filter(|_| !self.replaying) {
                Some(record) => note(asked, Asked::Do(Effect::Journal(record)), then),
                None => then.resume_with(()),
            },
            CoreEffect::Decide(certificate, _, then) => note(asked, Asked::Decided(commit_out(&certificate)), then),
            CoreEffect::Finalize(_, _, found, then) => note(asked, Asked::Finalized(evidence(&found)), then),
            CoreEffect::SignVote(vote, then) => {
                let signature = self.sign(&vote_out(&vote));
                then.resume_with(SignedMessage::new(vote, signature))
            }
            CoreEffect::SignProposal(proposal, then) => {
                let signature = self.sign(&proposal_out(&proposal));
                then.resume_with(SignedMessage::new(proposal, signature))
            }
            CoreEffect::VerifySignature(signed, key, then) => {
                let (verdicts, signature) = (&self.verdicts, &signed.signature);
                then.resume_with(match &signed.message {
                    ConsensusMsg::Vote(vote) => verdicts.is_good(&vote_out(vote), signature, &key),
                    ConsensusMsg::Proposal(proposal) => verdicts.is_good(&proposal_out(proposal), signature, &key),
                })
            }
            CoreEffect::VerifyCommitCertificate(certificate, set, thresholds, then) => then.resume_with(now(self
                .verdicts
                .verify_commit_certificate(&Ours, &certificate, &set, thresholds))),
            CoreEffect::VerifyExtendedCommitCertificate(certificate, set, thresholds, policy, then) => then
                .resume_with(now(self.verdicts.verify_extended_commit_certificate(
                    &Ours,
                    &certificate,
                    &set,
                    thresholds,
                    policy,
                ))),
            CoreEffect::VerifyPolkaCertificate(certificate, set, thresholds, then) => then.resume_with(now(self
                .verdicts
                .verify_polka_certificate(&Ours, &certificate, &set, thresholds))),
            CoreEffect::VerifyRoundCertificate(certificate, set, thresholds, then) => then.resume_with(now(self
                .verdicts
                .verify_round_certificate(&Ours, &certificate, &set, thresholds))),
            CoreEffect::ExtendVote(_, _, _, _, then) => then.resume_with(None),
            CoreEffect::VerifyVoteExtension(_, _, _, _, _, _, then) => {
                then.resume_with(Err(malachite_core::VoteExtensionError::InvalidVoteExtension))
            }
            // Catching up happens outside the core: it is never fed a synced value.
            CoreEffect::CertVerifiedSyncValue(_, _, then) => then.resume_with(()),
            CoreEffect::CertRejectedSyncValue(_, _, _, then) => then.resume_with(()),
        })
    }

    fn sign(&self, message: &impl Preimage) -> malachite_ed25519::Signature {
        malachite_ed25519::Signature::from_bytes(self.key.sign(&message.preimage(&self.domain)).0)
    }
}

fn note(asked: &mut Vec<Asked>, one: Asked, then: impl Resumable<Ours, Value = ()>) -> Resume<Ours> {
    asked.push(one);
    then.resume_with(())
}

fn now(check: impl Future<Output = Result<(), CertificateError<Ours>>>) -> Result<(), CertificateError<Ours>> {
    check.now_or_never().expect("checking a signature waits for nothing")
}

fn spoken(message: &SignedConsensusMsg<Ours>) -> Gossip {
    match message {
        SignedConsensusMsg::Vote(vote) => Gossip::Vote(signed_vote_out(vote)),
        SignedConsensusMsg::Proposal(proposal) => Gossip::Proposal(signed_proposal_out(proposal)),
    }
}

fn repeated(message: &LivenessMsg<Ours>) -> Gossip {
    match message {
        LivenessMsg::Vote(vote) => Gossip::Vote(signed_vote_out(vote)),
        LivenessMsg::PolkaCertificate(certificate) => Gossip::Polka(polka_out(certificate)),
        LivenessMsg::SkipRoundCertificate(certificate) => Gossip::Rounds(rounds_out(certificate)),
    }
}

fn evidence(found: &MisbehaviorEvidence<Ours>) -> Vec<Evidence> {
    let votes = found.votes.iter().flat_map(|(_, pairs)| pairs);
    let votes = votes.map(|(one, two)| Evidence::Votes(signed_vote_out(one), signed_vote_out(two)));
    let proposals = found.proposals.iter().flat_map(|(_, pairs)| pairs);
    let proposals = proposals.map(|(one, two)| Evidence::Proposals(signed_proposal_out(one), signed_proposal_out(two)));
    votes.chain(proposals).collect()
}
