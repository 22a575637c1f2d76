//! Inputs for the core, and the journal records that bring them back after a crash.

use malachite_core::{Input as CoreInput, ProposedValue};
use malachite_types::{Round, Timeout, TimeoutKind, Validity, ValueOrigin, VoteExtensionPolicy};
use protocol::{BlockHash, Height, ValidatorKey};

use crate::{
    context::{Address, ChainContext, CoreHeight, Value},
    convert::{
        polka_from_core, polka_to_core, round_number, signed_proposal_from_core, signed_proposal_to_core,
        signed_vote_from_core, signed_vote_to_core,
    },
    journal::{Record, Timer},
    validator::ValidatorSet,
};

pub(super) fn start(height: Height, set: ValidatorSet, restart: bool) -> CoreInput<ChainContext> {
    // No target time: the core would read a clock for it. Pacing is done before a height is started.
    CoreInput::StartHeight(CoreHeight(height), set, restart, None, VoteExtensionPolicy::Disabled)
}

pub(super) fn executed(
    height: CoreHeight,
    round: u32,
    proposer: ValidatorKey,
    block: BlockHash,
    valid: bool,
) -> CoreInput<ChainContext> {
    let value = ProposedValue {
        height,
        round: Round::new(round),
        valid_round: Round::Nil,
        proposer: Address(proposer),
        value: Value(block),
        validity: Validity::from_bool(valid),
    };
    CoreInput::ProposedValue(value, ValueOrigin::Consensus)
}

/// The input that a journal record stands for. A [`Record::Body`] is none: the node executes it again.
pub(super) fn replayed(height: Height, record: &Record) -> Option<CoreInput<ChainContext>> {
    Some(match record {
        Record::Vote(vote) => CoreInput::Vote(signed_vote_to_core(vote)),
        Record::Proposal(proposal) => CoreInput::Proposal(signed_proposal_to_core(proposal)),
        Record::Polka(certificate) => CoreInput::PolkaCertificate(polka_to_core(certificate)),
        Record::Timeout(timer, round) => {
            let kind = match timer {
                Timer::Propose => TimeoutKind::Propose,
                Timer::Prevote => TimeoutKind::Prevote,
                Timer::Precommit => TimeoutKind::Precommit,
            };
            CoreInput::TimeoutElapsed(Timeout::new(Round::new(*round), kind))
        }
        Record::Executed {
            round,
            proposer,
            block,
            valid,
        } => executed(CoreHeight(height), *round, *proposer, *block, *valid),
        Record::Body(_) => return None,
    })
}

/// The journal record of an input; `None` for inputs that the node can lose without contradicting itself.
pub(super) fn record(input: &CoreInput<ChainContext>) -> Option<Record> {
    Some(match input {
        CoreInput::Vote(vote) => Record::Vote(signed_vote_from_core(vote)),
        CoreInput::Proposal(proposal) => Record::Proposal(signed_proposal_from_core(proposal)),
        CoreInput::PolkaCertificate(certificate) => Record::Polka(polka_from_core(certificate)),
        CoreInput::TimeoutElapsed(timeout) => {
            let timer = match timeout.kind {
                TimeoutKind::Propose => Timer::Propose,
                TimeoutKind::Prevote => Timer::Prevote,
                TimeoutKind::Precommit => Timer::Precommit,
                TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return None,
            };
            Record::Timeout(timer, round_number(timeout.round)?)
        }
        CoreInput::ProposedValue(value, _) => Record::Executed {
            round: round_number(value.round)?,
            proposer: value.proposer.0,
            block: value.value.0,
            valid: value.validity.is_valid(),
        },
        CoreInput::StartHeight(..)
        | CoreInput::RoundCertificate(_)
        | CoreInput::Propose(_)
        | CoreInput::SyncValueResponse(_) => return None,
    })
}
