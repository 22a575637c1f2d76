//! What the core is fed, and which of it survives a crash.

use malachite_core::{Input as CoreInput, ProposedValue};
use malachite_types::{Round, Timeout, TimeoutKind, Validity, ValueOrigin, VoteExtensionPolicy};
use protocol::{BlockHash, Height, ValidatorKey};

use crate::{
    context::{Address, CoreHeight, Ours, Value},
    journal::{Record, Timer},
    validator::ValidatorSet,
    wire::{number, polka_in, polka_out, signed_proposal_in, signed_proposal_out, signed_vote_in, signed_vote_out},
};

pub(super) fn start(height: Height, set: ValidatorSet, restart: bool) -> CoreInput<Ours> {
    // No target time: the core would read a clock for it. Pacing is done before a height is started.
    CoreInput::StartHeight(CoreHeight(height), set, restart, None, VoteExtensionPolicy::Disabled)
}

pub(super) fn executed(
    height: CoreHeight,
    round: u32,
    proposer: ValidatorKey,
    block: BlockHash,
    valid: bool,
) -> CoreInput<Ours> {
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

pub(super) fn replayed(height: Height, record: &Record) -> Option<CoreInput<Ours>> {
    Some(match record {
        Record::Vote(vote) => CoreInput::Vote(signed_vote_in(vote)),
        Record::Proposal(proposal) => CoreInput::Proposal(signed_proposal_in(proposal)),
        Record::Polka(certificate) => CoreInput::PolkaCertificate(polka_in(certificate)),
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

/// The record that survives a crash, for the inputs whose loss would matter.
pub(super) fn record(input: &CoreInput<Ours>) -> Option<Record> {
    Some(match input {
        CoreInput::Vote(vote) => Record::Vote(signed_vote_out(vote)),
        CoreInput::Proposal(proposal) => Record::Proposal(signed_proposal_out(proposal)),
        CoreInput::PolkaCertificate(certificate) => Record::Polka(polka_out(certificate)),
        CoreInput::TimeoutElapsed(timeout) => {
            let timer = match timeout.kind {
                TimeoutKind::Propose => Timer::Propose,
                TimeoutKind::Prevote => Timer::Prevote,
                TimeoutKind::Precommit => Timer::Precommit,
                TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return None,
            };
            Record::Timeout(timer, number(timeout.round)?)
        }
        CoreInput::ProposedValue(value, _) => Record::Executed {
            round: number(value.round)?,
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
