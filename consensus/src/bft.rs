//! One validator's vote: the Malachite core with a key, timers and journal records around it.
//!
//! The core is a coroutine that asks for effects; here they become a list, in the order in which they must happen.
//! An [`Effect::Journal`] comes before everything that depends on it, and the caller must sync the journal before
//! any message of the same step leaves the process. That order is what keeps a validator from voting twice after a
//! crash.
//!
//! Left out: block sync. The core never sees a synced value; [`crate::node`] applies final blocks without it.
//!
//! # Why blocks are executed before they are voted for
//!
//! `ProposalAndParts` waits for [`Input::Executed`] before it prevotes. In the core's `ProposalOnly` mode a
//! received proposal counts as valid without a check, so validators would vote for blocks that none of them executed.
//! Executing first also puts the state root of a block into its own header: one commit certificate and one
//! `eth_getProof` then prove a fact about the state at once, where chains that execute later must wait for another
//! block.

mod core_effects;
mod core_inputs;

use std::{collections::BTreeMap, fmt};

use malachite_core::{Error as CoreError, Input as CoreInput, LocallyProposedValue, Params, State, process};
pub use malachite_types::LinearTimeouts as Timeouts;
use malachite_types::{Round, Timeout, TimeoutKind, ValuePayload};
use protocol::{
    BlockHash, Height, Time, ValidatorKey,
    crypto::{Domain, Preimage, SecretKey, Signed},
    message::{
        chain::Gossip,
        vote::{Certificate, Evidence, Proposal, RoundCertificate, Vote},
    },
};

use crate::{
    context::{Address, ChainContext, CoreHeight, Value},
    convert::{polka_to_core, round_certificate_to_core, round_number, signed_proposal_to_core, signed_vote_to_core},
    journal::Record,
    signature_cache::SignatureCache,
    validator::ValidatorSet,
};
use core_effects::{Deferred, EffectHandler};
use core_inputs::{executed, replayed, start};

/// Heights above the current one for which the core keeps messages, and the number of messages kept for each. What
/// comes beyond that is dropped; block sync makes up for it.
const QUEUE_HEIGHTS: usize = 4;
const QUEUE_MESSAGES: usize = 1024;

/// An event for [`Bft::step`]. Signatures need not be checked before; the core verifies them.
#[derive(Clone, Debug)]
pub enum Input {
    Vote(Signed<Vote>),
    Proposal(Signed<Proposal>),
    /// Prevotes of a quorum for one block.
    Polka(Certificate),
    /// A quorum of precommits of this round, or enough votes of a later one: the core moves on to another round.
    Rounds(RoundCertificate),
    /// The block that [`Effect::Build`] asked for, built and executed.
    Built {
        round: u32,
        block: BlockHash,
    },
    /// A block that a peer proposed was executed here.
    Executed {
        /// The round in which it was proposed.
        round: u32,
        proposer: ValidatorKey,
        block: BlockHash,
        /// False if the block breaks a rule of the chain. The validator then prevotes nil.
        valid: bool,
    },
    /// A deadline has passed.
    Tick,
}

/// An action for the caller, to be performed in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Append this record to the journal, and sync the journal before any later message leaves the process.
    Journal(Record),
    /// Send this message to all peers.
    Publish(Gossip),
    /// Build a block, because this validator is the proposer, and answer with [`Input::Built`].
    Build { round: u32 },
    /// Send the body of this block to all peers again: it is proposed again in a later round.
    Restream { round: u32, block: BlockHash },
    /// The block is final and the height is over.
    Decide {
        certificate: Certificate,
        /// Pairs of contradicting messages that validators signed at this height.
        evidence: Vec<Evidence>,
    },
}

/// The core cannot go on without the risk of contradicting a message that it signed before. The validator must stop
/// signing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("consensus stopped at height {height}: {why}")]
pub struct BftError {
    pub height: Height,
    pub why: String,
}

/// The vote of one validator, height after height.
///
/// [`Bft::step`] takes an [`Input`] and lists [`Effect`]s. It never signs two different votes for one round,
/// provided the caller syncs the journal as [`Effect::Journal`] demands and gives the records back to
/// [`Bft::resume`] after a crash.
pub struct Bft {
    core: State<ChainContext>,
    handler: EffectHandler,
    timeouts: Timeouts,
    timers: BTreeMap<(Round, u8), (Time, Timeout)>,
    decided: Option<Certificate>,
}

impl fmt::Debug for Bft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bft")
            .field("height", &self.height())
            .field("round", &self.round())
            .finish_non_exhaustive()
    }
}

impl Bft {
    /// Creates a machine that takes part in no height yet; call [`Bft::start`] or [`Bft::resume`] next.
    pub fn new(domain: Domain, key: SecretKey, timeouts: Timeouts, height: Height, set: ValidatorSet) -> Self {
        let params = Params {
            address: Address(key.validator()),
            threshold_params: malachite_core::ThresholdParams::default(),
            // In `ProposalOnly` the core would take every proposal for valid, executed or not.
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let core = State::new(
            ChainContext,
            CoreHeight(height),
            set,
            params,
            QUEUE_HEIGHTS,
            QUEUE_MESSAGES,
        );
        let handler = EffectHandler {
            key,
            domain,
            signatures: SignatureCache::new(domain),
            replaying: false,
        };
        Self {
            core,
            handler,
            timeouts,
            timers: BTreeMap::new(),
            decided: None,
        }
    }

    /// The key that this machine signs with, which is also its identity as a validator.
    pub fn validator(&self) -> ValidatorKey {
        self.core.address().0
    }

    /// The height being decided; the next one starts with [`Bft::start`].
    pub fn height(&self) -> Height {
        self.core.height().0
    }

    /// The current round of the height being decided. It rises when a round ends without a decision.
    pub fn round(&self) -> u32 {
        round_number(self.core.round()).unwrap_or(0)
    }

    /// Returns true if `author` signed the message. Valid signatures are remembered until the height ends.
    pub fn verifies<T: Preimage>(&self, signed: &Signed<T>, author: &crate::validator::Validator) -> bool {
        let signature = malachite_ed25519::Signature::from_bytes(signed.signature.0);
        self.handler
            .signatures
            .is_valid(&signed.message, &signature, &author.public)
    }

    /// Starts to decide `height` with the validators in `set`. Timers and messages of the previous height are
    /// dropped.
    pub fn start(
        &mut self,
        now: Time,
        height: Height,
        set: ValidatorSet,
        todo: &mut Vec<Effect>,
    ) -> Result<(), BftError> {
        self.handler.signatures.clear();
        self.feed(now, start(height, set, false), todo)
    }

    /// Continues a height after a crash from its journal records. The core signs the same messages as before and no
    /// others, and `todo` sends them again.
    pub fn resume(
        &mut self,
        now: Time,
        height: Height,
        set: ValidatorSet,
        records: &[Record],
        todo: &mut Vec<Effect>,
    ) -> Result<(), BftError> {
        let inputs: Vec<_> = records.iter().filter_map(|record| replayed(height, record)).collect();
        // The core asks to journal its inputs while they are replayed; they are in the journal already.
        self.handler.replaying = true;
        self.feed(now, start(height, set, true), todo)?;
        self.core.record_recovered_own_precommit_extensions(inputs.iter());
        self.core.index_wal_entries(inputs.iter());
        for input in inputs {
            // The height was decided before the crash, so the other records no longer matter.
            if self.decided.is_some() {
                break;
            }
            self.feed(now, input, todo)?;
        }
        self.core.reset_entries_index();
        self.handler.replaying = false;
        // A round for which this validator's proposal is in the journal has its block already.
        let own_key = self.validator();
        let proposed = |round: u32| {
            records.iter().any(|record| {
                matches!(record, Record::Proposal(Signed { message, .. })
                    if message.proposer == own_key && message.round == round)
            })
        };
        todo.retain(|effect| !matches!(effect, Effect::Build { round } if proposed(*round)));
        Ok(())
    }

    /// Feeds one input to the core and appends the effects to `todo`.
    pub fn step(&mut self, now: Time, input: Input, todo: &mut Vec<Effect>) -> Result<(), BftError> {
        let height = CoreHeight(self.height());
        let input = match input {
            Input::Vote(vote) => CoreInput::Vote(signed_vote_to_core(&vote)),
            Input::Proposal(proposal) => CoreInput::Proposal(signed_proposal_to_core(&proposal)),
            Input::Polka(certificate) => CoreInput::PolkaCertificate(polka_to_core(&certificate)),
            Input::Rounds(certificate) => match round_certificate_to_core(&certificate) {
                Some(certificate) => CoreInput::RoundCertificate(certificate),
                None => return Ok(()),
            },
            Input::Built { round, block } => {
                CoreInput::Propose(LocallyProposedValue::new(height, Round::new(round), Value(block)))
            }
            Input::Executed {
                round,
                proposer,
                block,
                valid,
            } => executed(height, round, proposer, block, valid),
            Input::Tick => return self.run_due_timers(now, todo),
        };
        self.feed(now, input, todo)
    }

    /// The time at which [`Bft::step`] needs an [`Input::Tick`]; `None` while no timer runs.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.values().map(|(due, _)| *due).min()
    }

    fn run_due_timers(&mut self, now: Time, todo: &mut Vec<Effect>) -> Result<(), BftError> {
        // One at a time, because a timer that fires may stop the others.
        while let Some((&name, &(_, timeout))) = self.timers.iter().find(|(_, (due, _))| *due <= now) {
            self.timers.remove(&name);
            self.feed(now, CoreInput::TimeoutElapsed(timeout), todo)?;
        }
        Ok(())
    }

    /// Runs the core on one input until it asks for nothing more.
    fn feed(&mut self, now: Time, input: CoreInput<ChainContext>, todo: &mut Vec<Effect>) -> Result<(), BftError> {
        let mut deferred = Vec::new();
        let Self { core, handler, .. } = self;
        let done: Result<(), CoreError<ChainContext>> = process!(
            input: input, state: core, metrics: &(), with: effect => handler.handle(effect, &mut deferred)
        );
        match done {
            Ok(()) => (),
            // The journal and what the core would sign now disagree, or this file has a bug.
            Err(
                error @ (CoreError::ReplayDivergence(..)
                | CoreError::WalCorrupted(_)
                | CoreError::UnexpectedResume(..)
                | CoreError::DecisionNotFound(..)),
            ) => {
                return Err(BftError {
                    height: self.height(),
                    why: error.to_string(),
                });
            }
            // The error is about one message, which had no effect.
            Err(error) => tracing::debug!(%error, "ignored a consensus message"),
        }
        for request in deferred {
            self.perform_deferred(now, request, todo);
        }
        Ok(())
    }

    fn perform_deferred(&mut self, now: Time, deferred: Deferred, todo: &mut Vec<Effect>) {
        match deferred {
            Deferred::Perform(effect) => todo.push(effect),
            Deferred::StartTimer(timeout) => {
                let due = now.after(self.timeouts.duration_for(timeout));
                self.timers.insert(timer_name(&timeout), (due, timeout));
            }
            Deferred::StopTimer(timeout) => drop(self.timers.remove(&timer_name(&timeout))),
            Deferred::StopAllTimers => self.timers.clear(),
            Deferred::Decided(certificate) => self.decided = Some(certificate),
            Deferred::Finalized(evidence) => {
                let certificate = self.decided.take().expect("the core decides before it finalises");
                todo.push(Effect::Decide { certificate, evidence });
            }
        }
    }
}

fn timer_name(timeout: &Timeout) -> (Round, u8) {
    let kind = match timeout.kind {
        TimeoutKind::Propose => 0,
        TimeoutKind::Prevote => 1,
        TimeoutKind::Precommit => 2,
        TimeoutKind::Rebroadcast => 3,
        TimeoutKind::FinalizeHeight(_) => 4,
    };
    (timeout.round, kind)
}
