//! The way between the core's messages and the ones on the wire.

use malachite_types::{
    CommitCertificate, CommitSignature, NilOrVal, PolkaCertificate, PolkaSignature, Round, RoundCertificateType,
    RoundSignature, SignedMessage, SignedProposal, SignedVote, VoteType,
};
use protocol::{
    BlockHash, ValidatorKey,
    crypto::{Signature, Signed},
    message::vote::{self as wire, Certificate, RoundCertificate, VoteKind},
};

use crate::context::{Address, CoreHeight, Ours, Proposal, Value, ValueName, Vote};

/// The number of a round that is not "nil".
pub(crate) fn number(round: Round) -> Option<u32> {
    round.as_u32()
}

fn signature_out(signature: malachite_ed25519::Signature) -> Signature {
    Signature(signature.to_bytes())
}

fn signature_in(signature: Signature) -> malachite_ed25519::Signature {
    malachite_ed25519::Signature::from_bytes(signature.0)
}

fn kind_out(kind: VoteType) -> VoteKind {
    match kind {
        VoteType::Prevote => VoteKind::Prevote,
        VoteType::Precommit => VoteKind::Precommit,
    }
}

fn kind_in(kind: VoteKind) -> VoteType {
    match kind {
        VoteKind::Prevote => VoteType::Prevote,
        VoteKind::Precommit => VoteType::Precommit,
    }
}

fn name_out(value: &NilOrVal<ValueName>) -> Option<BlockHash> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(name) => Some(name.0),
    }
}

fn name_in(block: Option<BlockHash>) -> NilOrVal<ValueName> {
    block.map_or(NilOrVal::Nil, |block| NilOrVal::Val(ValueName(block)))
}

pub(crate) fn vote_out(vote: &Vote) -> wire::Vote {
    wire::Vote {
        kind: kind_out(vote.kind),
        height: vote.height.0,
        round: number(vote.round).expect("nobody votes in the nil round"),
        block: name_out(&vote.value),
        validator: vote.voter.0,
    }
}

fn vote_in(vote: &wire::Vote) -> Vote {
    Vote {
        kind: kind_in(vote.kind),
        height: CoreHeight(vote.height),
        round: Round::new(vote.round),
        value: name_in(vote.block),
        voter: Address(vote.validator),
    }
}

pub(crate) fn proposal_out(proposal: &Proposal) -> wire::Proposal {
    wire::Proposal {
        height: proposal.height.0,
        round: number(proposal.round).expect("nobody proposes in the nil round"),
        block: proposal.value.0,
        polka_round: number(proposal.polka_round),
        proposer: proposal.proposer.0,
    }
}

pub(crate) fn signed_vote_out(vote: &SignedVote<Ours>) -> Signed<wire::Vote> {
    Signed {
        message: vote_out(&vote.message),
        signature: signature_out(vote.signature),
    }
}

pub(crate) fn signed_vote_in(vote: &Signed<wire::Vote>) -> SignedVote<Ours> {
    SignedMessage::new(vote_in(&vote.message), signature_in(vote.signature))
}

pub(crate) fn signed_proposal_out(proposal: &SignedProposal<Ours>) -> Signed<wire::Proposal> {
    Signed {
        message: proposal_out(&proposal.message),
        signature: signature_out(proposal.signature),
    }
}

pub(crate) fn signed_proposal_in(signed: &Signed<wire::Proposal>) -> SignedProposal<Ours> {
    let proposal = &signed.message;
    let inner = Proposal {
        height: CoreHeight(proposal.height),
        round: Round::new(proposal.round),
        value: Value(proposal.block),
        polka_round: proposal.polka_round.map_or(Round::Nil, Round::new),
        proposer: Address(proposal.proposer),
    };
    SignedMessage::new(inner, signature_in(signed.signature))
}

/// A commit certificate as everyone sees it: signatures in the order of their keys.
pub(crate) fn commit_out(certificate: &CommitCertificate<Ours>) -> Certificate {
    let sign = |one: &CommitSignature<Ours>| (one.address.0, signature_out(one.signature));
    let mut signatures: Vec<_> = certificate.commit_signatures.iter().map(sign).collect();
    signatures.sort();
    Certificate {
        height: certificate.height.0,
        round: number(certificate.round).expect("nothing is decided in the nil round"),
        block: certificate.value_id.0,
        signatures,
    }
}

pub(crate) fn polka_out(certificate: &PolkaCertificate<Ours>) -> Certificate {
    let sign = |one: &PolkaSignature<Ours>| (one.address.0, signature_out(one.signature));
    Certificate {
        height: certificate.height.0,
        round: number(certificate.round).expect("no polka in the nil round"),
        block: certificate.value_id.0,
        signatures: certificate.polka_signatures.iter().map(sign).collect(),
    }
}

pub(crate) fn polka_in(certificate: &Certificate) -> PolkaCertificate<Ours> {
    let sign = |one: &(ValidatorKey, Signature)| PolkaSignature::new(Address(one.0), signature_in(one.1));
    PolkaCertificate {
        height: CoreHeight(certificate.height),
        round: Round::new(certificate.round),
        value_id: ValueName(certificate.block),
        polka_signatures: certificate.signatures.iter().map(sign).collect(),
    }
}

pub(crate) fn rounds_out(certificate: &malachite_types::RoundCertificate<Ours>) -> RoundCertificate {
    let (height, round) = (certificate.height, certificate.round);
    let vote = |one: &RoundSignature<Ours>| {
        let vote = Vote {
            kind: one.vote_type,
            height,
            round,
            value: one.value_id,
            voter: one.address,
        };
        Signed {
            message: vote_out(&vote),
            signature: signature_out(one.signature),
        }
    };
    RoundCertificate {
        height: height.0,
        round: number(round).expect("no certificate for the nil round"),
        precommits: certificate.cert_type == RoundCertificateType::Precommit,
        votes: certificate.round_signatures.iter().map(vote).collect(),
    }
}

/// `None` if a vote in it is for another height or round than the certificate says.
pub(crate) fn rounds_in(certificate: &RoundCertificate) -> Option<malachite_types::RoundCertificate<Ours>> {
    let slot = (certificate.height, certificate.round);
    let round_signatures = certificate
        .votes
        .iter()
        .map(|signed| {
            let vote = &signed.message;
            ((vote.height, vote.round) == slot).then(|| {
                RoundSignature::new(
                    kind_in(vote.kind),
                    name_in(vote.block),
                    Address(vote.validator),
                    signature_in(signed.signature),
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
