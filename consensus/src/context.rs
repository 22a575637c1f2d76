//! The types that the Malachite core is generic over.
//!
//! The core runs in `ProposalAndParts` mode: the value that is voted on is the hash of a block, and the block
//! itself travels beside the votes as one message, so a proposal "part" is empty here.

use std::fmt;

use malachite_ed25519::{Ed25519, PublicKey};
use malachite_types::{Context, LinearTimeouts, NilOrVal, Round, SignedExtension, VoteType};
use protocol::{BlockHash, Height, ValidatorKey};

use crate::validator::{Validator, ValidatorSet};

/// Implements the core's [`Context`]: binds its type parameters to the types of this chain. Holds no data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainContext;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CoreHeight(pub(crate) Height);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address(pub(crate) ValidatorKey);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value(pub(crate) BlockHash);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ValueId(pub(crate) BlockHash);

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
    pub(crate) value: NilOrVal<ValueId>,
    pub(crate) validator: Address,
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

impl fmt::Display for ValueId {
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
    type Id = ValueId;

    fn id(&self) -> ValueId {
        ValueId(self.0)
    }
}

impl malachite_types::ProposalPart<ChainContext> for Part {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

impl malachite_types::Proposal<ChainContext> for Proposal {
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

impl malachite_types::Vote<ChainContext> for Vote {
    fn height(&self) -> CoreHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<ValueId> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<ValueId> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.validator
    }

    // Vote extensions are disabled.
    fn extension(&self) -> Option<&SignedExtension<ChainContext>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<ChainContext>> {
        None
    }

    fn extend(self, _: SignedExtension<ChainContext>) -> Self {
        self
    }
}

impl malachite_types::Validator<ChainContext> for Validator {
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

impl malachite_types::ValidatorSet<ChainContext> for ValidatorSet {
    fn count(&self) -> usize {
        self.validators().len()
    }

    fn total_voting_power(&self) -> u64 {
        self.total()
    }

    fn get_by_address(&self, address: &Address) -> Option<&Validator> {
        self.get(&address.0)
    }

    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.validators().get(index)
    }
}

impl Context for ChainContext {
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

    fn new_prevote(&self, height: CoreHeight, round: Round, value: NilOrVal<ValueId>, validator: Address) -> Vote {
        Vote {
            kind: VoteType::Prevote,
            height,
            round,
            value,
            validator,
        }
    }

    fn new_precommit(&self, height: CoreHeight, round: Round, value: NilOrVal<ValueId>, validator: Address) -> Vote {
        Vote {
            kind: VoteType::Precommit,
            height,
            round,
            value,
            validator,
        }
    }
}
