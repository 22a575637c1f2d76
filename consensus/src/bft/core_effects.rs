//! Handles the effects that the core yields while it runs.
//!
//! Signing and signature checks are answered at once, because the core needs the result to go on. Everything else
//! is collected in order and performed after the core has stopped.

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

use super::{Effect, core_inputs::record};
use crate::{
    context::ChainContext,
    convert::{
        commit_from_core, polka_from_core, proposal_from_core, round_certificate_from_core, round_number,
        signed_proposal_from_core, signed_vote_from_core, vote_from_core,
    },
    signature_cache::SignatureCache,
};

/// Signs and verifies for the core.
pub(super) struct EffectHandler {
    pub(super) key: SecretKey,
    pub(super) domain: Domain,
    pub(super) signatures: SignatureCache,
    /// True while journal records are fed to the core. They are in the journal already, so they are not written
    /// again.
    pub(super) replaying: bool,
}

/// An effect that waits until the core has stopped.
pub(super) enum Deferred {
    Perform(Effect),
    StartTimer(Timeout),
    StopTimer(Timeout),
    StopAllTimers,
    Decided(Certificate),
    Finalized(Vec<Evidence>),
}

impl EffectHandler {
    /// Answers the core where it needs an answer, and defers everything else.
    pub(super) fn handle(
        &self,
        effect: CoreEffect<ChainContext>,
        deferred: &mut Vec<Deferred>,
    ) -> Result<Resume<ChainContext>, CoreError<ChainContext>> {
        let publish = |message| Deferred::Perform(Effect::Publish(message));
        Ok(match effect {
            CoreEffect::CancelAllTimeouts(then) => defer(deferred, Deferred::StopAllTimers, then),
            CoreEffect::CancelTimeout(timeout, then) => defer(deferred, Deferred::StopTimer(timeout), then),
            CoreEffect::ScheduleTimeout(timeout, then) => defer(deferred, Deferred::StartTimer(timeout), then),
            CoreEffect::StartRound(_, _, _, _, then) => then.resume_with(()),
            CoreEffect::PublishConsensusMsg(message, then) => {
                defer(deferred, publish(consensus_message(&message)), then)
            }
            CoreEffect::PublishLivenessMsg(message, then) => defer(deferred, publish(liveness_message(&message)), then),
            CoreEffect::RepublishVote(vote, then) => {
                defer(deferred, publish(Gossip::Vote(signed_vote_from_core(&vote))), then)
            }
            CoreEffect::RepublishRoundCertificate(certificate, then) => defer(
                deferred,
                publish(Gossip::Rounds(round_certificate_from_core(&certificate))),
                then,
            ),
            CoreEffect::GetValue(_, round, _, then) => {
                let round = round_number(round).expect("blocks are built in real rounds");
                defer(deferred, Deferred::Perform(Effect::Build { round }), then)
            }
            CoreEffect::RestreamProposal(_, round, _, _, block, then) => {
                let round = round_number(round).expect("blocks are proposed in real rounds");
                defer(
                    deferred,
                    Deferred::Perform(Effect::Restream { round, block: block.0 }),
                    then,
                )
            }
            CoreEffect::WalAppend(_, input, then) => match record(&input).filter(|_| !self.replaying) {
                Some(record) => defer(deferred, Deferred::Perform(Effect::Journal(record)), then),
                None => then.resume_with(()),
            },
            CoreEffect::Decide(certificate, _, then) => {
                defer(deferred, Deferred::Decided(commit_from_core(&certificate)), then)
            }
            CoreEffect::Finalize(_, _, found, then) => defer(deferred, Deferred::Finalized(evidence(&found)), then),
            CoreEffect::SignVote(vote, then) => {
                let signature = self.sign(&vote_from_core(&vote));
                then.resume_with(SignedMessage::new(vote, signature))
            }
            CoreEffect::SignProposal(proposal, then) => {
                let signature = self.sign(&proposal_from_core(&proposal));
                then.resume_with(SignedMessage::new(proposal, signature))
            }
            CoreEffect::VerifySignature(signed, key, then) => {
                let (signatures, signature) = (&self.signatures, &signed.signature);
                then.resume_with(match &signed.message {
                    ConsensusMsg::Vote(vote) => signatures.is_valid(&vote_from_core(vote), signature, &key),
                    ConsensusMsg::Proposal(proposal) => {
                        signatures.is_valid(&proposal_from_core(proposal), signature, &key)
                    }
                })
            }
            CoreEffect::VerifyCommitCertificate(certificate, set, thresholds, then) => then.resume_with(immediate(
                self.signatures
                    .verify_commit_certificate(&ChainContext, &certificate, &set, thresholds),
            )),
            CoreEffect::VerifyExtendedCommitCertificate(certificate, set, thresholds, policy, then) => then
                .resume_with(immediate(self.signatures.verify_extended_commit_certificate(
                    &ChainContext,
                    &certificate,
                    &set,
                    thresholds,
                    policy,
                ))),
            CoreEffect::VerifyPolkaCertificate(certificate, set, thresholds, then) => then.resume_with(immediate(
                self.signatures
                    .verify_polka_certificate(&ChainContext, &certificate, &set, thresholds),
            )),
            CoreEffect::VerifyRoundCertificate(certificate, set, thresholds, then) => then.resume_with(immediate(
                self.signatures
                    .verify_round_certificate(&ChainContext, &certificate, &set, thresholds),
            )),
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

fn defer(
    deferred: &mut Vec<Deferred>,
    request: Deferred,
    then: impl Resumable<ChainContext, Value = ()>,
) -> Resume<ChainContext> {
    deferred.push(request);
    then.resume_with(())
}

fn immediate(
    check: impl Future<Output = Result<(), CertificateError<ChainContext>>>,
) -> Result<(), CertificateError<ChainContext>> {
    check.now_or_never().expect("a signature check never waits")
}

fn consensus_message(message: &SignedConsensusMsg<ChainContext>) -> Gossip {
    match message {
        SignedConsensusMsg::Vote(vote) => Gossip::Vote(signed_vote_from_core(vote)),
        SignedConsensusMsg::Proposal(proposal) => Gossip::Proposal(signed_proposal_from_core(proposal)),
    }
}

fn liveness_message(message: &LivenessMsg<ChainContext>) -> Gossip {
    match message {
        LivenessMsg::Vote(vote) => Gossip::Vote(signed_vote_from_core(vote)),
        LivenessMsg::PolkaCertificate(certificate) => Gossip::Polka(polka_from_core(certificate)),
        LivenessMsg::SkipRoundCertificate(certificate) => Gossip::Rounds(round_certificate_from_core(certificate)),
    }
}

fn evidence(found: &MisbehaviorEvidence<ChainContext>) -> Vec<Evidence> {
    let votes = found.votes.iter().flat_map(|(_, pairs)| pairs);
    let votes =
        votes.map(|(first, second)| Evidence::Votes(signed_vote_from_core(first), signed_vote_from_core(second)));
    let proposals = found.proposals.iter().flat_map(|(_, pairs)| pairs);
    let proposals = proposals.map(|(first, second)| {
        Evidence::Proposals(signed_proposal_from_core(first), signed_proposal_from_core(second))
    });
    votes.chain(proposals).collect()
}
