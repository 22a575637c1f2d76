//! The vocabulary that the Malachite core is generic over, filled with ours, and the way between its messages and the
//! ones on the wire. `ProposalAndParts` mode: the value that is voted on is the block's hash.

use std::fmt;

use malachite_ed25519::{Ed25519, PublicKey};
use malachite_types::{
    CommitCertificate, CommitSignature, Context, LinearTimeouts, NilOrVal, PolkaCertificate, PolkaSignature, Round,
    RoundCertificateType, RoundSignature, SignedExtension, SignedMessage, SignedProposal, SignedVote, VoteType,
};
use protocol::{
    BlockHash, Height, ValidatorKey,
    crypto::{Signature, Signed},
    message::vote::{self as wire, Certificate, RoundCertificate, VoteKind},
};

use crate::validator::{Validator, ValidatorSet};

/// Our side of the core's type parameters. It holds nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CoreHeight(pub(crate) Height);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address(pub(crate) ValidatorKey);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value(pub(crate) BlockHash);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ValueName(pub(crate) BlockHash);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) height: CoreHeight,
    pub(crate) round: Round,
    pub(crate) value: Value,
    pub(crate) polka_round: Round,
    pub(crate) proposer: Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) kind: VoteType,
    pub(crate) height: CoreHeight,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<ValueName>,
    pub(crate) voter: Address,
}

impl fmt::Display for CoreHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl fmt::Display for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl malachite_types::Address for Address {}

impl malachite_types::Height for CoreHeight {
    const ZERO: Self = Self(Height(0));
    const INITIAL: Self = Self(Height(1));

    fn increment_by(&self, n: u64) -> Self {
        Self(Height(self.0.0 + n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.0.checked_sub(n).map(|height| Self(Height(height)))
    }

    fn as_u64(&self) -> u64 {
        self.0.0
    }
}

impl malachite_types::Value for Value {
    type Id = ValueName;

    fn id(&self) -> ValueName {
        ValueName(self.0)
    }
}

impl malachite_types::ProposalPart<Ours> for Part {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

impl malachite_types::Proposal<Ours> for Proposal {
    fn height(&self) -> CoreHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.polka_round
    }

    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

impl malachite_types::Vote<Ours> for Vote {
    fn height(&self) -> CoreHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<ValueName> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<ValueName> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.voter
    }

    // Vote extensions are switched off: a vote carries nothing but itself.
    fn extension(&self) -> Option<&SignedExtension<Ours>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Ours>> {
        None
    }

    fn extend(self, _: SignedExtension<Ours>) -> Self {
        self
    }
}

impl malachite_types::Validator<Ours> for Validator {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn voting_power(&self) -> u64 {
        self.power
    }
}

impl malachite_types::ValidatorSet<Ours> for ValidatorSet {
    fn count(&self) -> usize {
        self.voters().len()
    }

    fn total_voting_power(&self) -> u64 {
        self.total()
    }

    fn get_by_address(&self, address: &Address) -> Option<&Validator> {
        self.get(&address.0)
    }

    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.voters().get(index)
    }
}

impl Context for Ours {
    type Address = Address;
    type Height = CoreHeight;
    type ProposalPart = Part;
    type Proposal = Proposal;
    type Validator = Validator;
    type ValidatorSet = ValidatorSet;
    type Timeouts = LinearTimeouts;
    type Value = Value;
    type Vote = Vote;
    type Extension = Vec<u8>;
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(&self, set: &'a ValidatorSet, height: CoreHeight, round: Round) -> &'a Validator {
        set.proposer(height.0, number(round).unwrap_or(0))
    }

    fn new_proposal(
        &self,
        height: CoreHeight,
        round: Round,
        value: Value,
        polka_round: Round,
        proposer: Address,
    ) -> Proposal {
        Proposal {
            height,
            round,
            value,
            polka_round,
            proposer,
        }
    }

    fn new_prevote(&self, height: CoreHeight, round: Round, value: NilOrVal<ValueName>, voter: Address) -> Vote {
        Vote {
            kind: VoteType::Prevote,
            height,
            round,
            value,
            voter,
        }
    }

    fn new_precommit(&self, height: CoreHeight, round: Round, value: NilOrVal<ValueName>, voter: Address) -> Vote {
        Vote {
            kind: VoteType::Precommit,
            height,
            round,
            value,
            voter,
        }
    }
}

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
