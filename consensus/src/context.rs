//! The vocabulary that the Malachite core is generic over, filled with ours. `ProposalAndParts` mode: the value that is
//! voted on is the block's hash.

use std::fmt;

use malachite_ed25519::{Ed25519, PublicKey};
use malachite_types::{Context, LinearTimeouts, NilOrVal, Round, SignedExtension, VoteType};
use protocol::{BlockHash, Height, ValidatorKey};

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
        set.proposer(height.0, round.as_u32().unwrap_or(0))
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
