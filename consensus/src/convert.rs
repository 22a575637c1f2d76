//! Conversion between the core's types and the messages of [`protocol::message::vote`].

use malachite_types::{
    CommitCertificate, CommitSignature, NilOrVal, PolkaCertificate, PolkaSignature, Round, RoundCertificateType,
    RoundSignature, SignedMessage, SignedProposal, SignedVote, VoteType,
};
use protocol::{
    BlockHash, ValidatorKey,
    crypto::{Signature, Signed},
    message::vote::{self as message, Certificate, RoundCertificate, VoteKind},
};

use crate::context::{Address, ChainContext, CoreHeight, Proposal, Value, ValueId, Vote};

/// The number of a round, `None` for the nil round.
pub(crate) fn round_number(round: Round) -> Option<u32> {
    round.as_u32()
}

fn signature_from_core(signature: malachite_ed25519::Signature) -> Signature {
    Signature(signature.to_bytes())
}

fn signature_to_core(signature: Signature) -> malachite_ed25519::Signature {
    malachite_ed25519::Signature::from_bytes(signature.0)
}

fn kind_from_core(kind: VoteType) -> VoteKind {
    match kind {
        VoteType::Prevote => VoteKind::Prevote,
        VoteType::Precommit => VoteKind::Precommit,
    }
}

fn kind_to_core(kind: VoteKind) -> VoteType {
    match kind {
        VoteKind::Prevote => VoteType::Prevote,
        VoteKind::Precommit => VoteType::Precommit,
    }
}

fn block_from_core(value: &NilOrVal<ValueId>) -> Option<BlockHash> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(name) => Some(name.0),
    }
}

fn block_to_core(block: Option<BlockHash>) -> NilOrVal<ValueId> {
    block.map_or(NilOrVal::Nil, |block| NilOrVal::Val(ValueId(block)))
}

pub(crate) fn vote_from_core(vote: &Vote) -> message::Vote {
    message::Vote {
        kind: kind_from_core(vote.kind),
        height: vote.height.0,
        round: round_number(vote.round).expect("no vote is for the nil round"),
        block: block_from_core(&vote.value),
        validator: vote.validator.0,
    }
}

fn vote_to_core(vote: &message::Vote) -> Vote {
    Vote {
        kind: kind_to_core(vote.kind),
        height: CoreHeight(vote.height),
        round: Round::new(vote.round),
        value: block_to_core(vote.block),
        validator: Address(vote.validator),
    }
}

pub(crate) fn proposal_from_core(proposal: &Proposal) -> message::Proposal {
    message::Proposal {
        height: proposal.height.0,
        round: round_number(proposal.round).expect("no proposal is for the nil round"),
        block: proposal.value.0,
        polka_round: round_number(proposal.polka_round),
        proposer: proposal.proposer.0,
    }
}

pub(crate) fn signed_vote_from_core(vote: &SignedVote<ChainContext>) -> Signed<message::Vote> {
    Signed {
        message: vote_from_core(&vote.message),
        signature: signature_from_core(vote.signature),
    }
}

pub(crate) fn signed_vote_to_core(vote: &Signed<message::Vote>) -> SignedVote<ChainContext> {
    SignedMessage::new(vote_to_core(&vote.message), signature_to_core(vote.signature))
}

pub(crate) fn signed_proposal_from_core(proposal: &SignedProposal<ChainContext>) -> Signed<message::Proposal> {
    Signed {
        message: proposal_from_core(&proposal.message),
        signature: signature_from_core(proposal.signature),
    }
}

pub(crate) fn signed_proposal_to_core(signed: &Signed<message::Proposal>) -> SignedProposal<ChainContext> {
    let proposal = &signed.message;
    let inner = Proposal {
        height: CoreHeight(proposal.height),
        round: Round::new(proposal.round),
        value: Value(proposal.block),
        polka_round: proposal.polka_round.map_or(Round::Nil, Round::new),
        proposer: Address(proposal.proposer),
    };
    SignedMessage::new(inner, signature_to_core(signed.signature))
}

/// Converts a commit certificate. Signatures are sorted by key: [`crate::validator::ValidatorSet::check`] demands
/// that order, and the digest of the certificate goes into the next header.
pub(crate) fn commit_from_core(certificate: &CommitCertificate<ChainContext>) -> Certificate {
    let sign =
        |signature: &CommitSignature<ChainContext>| (signature.address.0, signature_from_core(signature.signature));
    let mut signatures: Vec<_> = certificate.commit_signatures.iter().map(sign).collect();
    signatures.sort();
    Certificate {
        height: certificate.height.0,
        round: round_number(certificate.round).expect("nothing is decided in the nil round"),
        block: certificate.value_id.0,
        signatures,
    }
}

pub(crate) fn polka_from_core(certificate: &PolkaCertificate<ChainContext>) -> Certificate {
    let sign =
        |signature: &PolkaSignature<ChainContext>| (signature.address.0, signature_from_core(signature.signature));
    Certificate {
        height: certificate.height.0,
        round: round_number(certificate.round).expect("no polka in the nil round"),
        block: certificate.value_id.0,
        signatures: certificate.polka_signatures.iter().map(sign).collect(),
    }
}

pub(crate) fn polka_to_core(certificate: &Certificate) -> PolkaCertificate<ChainContext> {
    let sign = |signature: &(ValidatorKey, Signature)| {
        PolkaSignature::new(Address(signature.0), signature_to_core(signature.1))
    };
    PolkaCertificate {
        height: CoreHeight(certificate.height),
        round: Round::new(certificate.round),
        value_id: ValueId(certificate.block),
        polka_signatures: certificate.signatures.iter().map(sign).collect(),
    }
}

pub(crate) fn round_certificate_from_core(
    certificate: &malachite_types::RoundCertificate<ChainContext>,
) -> RoundCertificate {
    let (height, round) = (certificate.height, certificate.round);
    let vote = |signature: &RoundSignature<ChainContext>| {
        let vote = Vote {
            kind: signature.vote_type,
            height,
            round,
            value: signature.value_id,
            validator: signature.address,
        };
        Signed {
            message: vote_from_core(&vote),
            signature: signature_from_core(signature.signature),
        }
    };
    RoundCertificate {
        height: height.0,
        round: round_number(round).expect("no certificate for the nil round"),
        precommits: certificate.cert_type == RoundCertificateType::Precommit,
        votes: certificate.round_signatures.iter().map(vote).collect(),
    }
}

/// Converts a round certificate; `None` if it contains a vote for another height or round than its own.
pub(crate) fn round_certificate_to_core(
    certificate: &RoundCertificate,
) -> Option<malachite_types::RoundCertificate<ChainContext>> {
    // The core takes height and round from the certificate, so a vote for another round would count for this one.
    let slot = (certificate.height, certificate.round);
    let round_signatures = certificate
        .votes
        .iter()
        .map(|signed| {
            let vote = &signed.message;
            ((vote.height, vote.round) == slot).then(|| {
                RoundSignature::new(
                    kind_to_core(vote.kind),
                    block_to_core(vote.block),
                    Address(vote.validator),
                    signature_to_core(signed.signature),
                )
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let cert_type = if certificate.precommits {
        RoundCertificateType::Precommit
    } else {
        RoundCertificateType::Skip
    };
    Some(malachite_types::RoundCertificate {
        height: CoreHeight(certificate.height),
        round: Round::new(certificate.round),
        cert_type,
        round_signatures,
    })
}
