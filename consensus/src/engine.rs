//! One voter: the Malachite core with our key, our timers and our journal around it.
//!
//! The core is a coroutine that asks for effects; here they become a list, in the order in which they must happen. A
//! [`Effect::Journal`] comes before everything that depends on it, and whoever performs the list syncs the journal
//! before anything else leaves the process. Catching up is not done here: the core never sees a synced value.

mod inputs;
mod voice;

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
    context::{Address, CoreHeight, Ours, Value},
    journal::Record,
    validator::ValidatorSet,
    verdicts::Verdicts,
    wire::{number, polka_in, rounds_in, signed_proposal_in, signed_vote_in},
};
use inputs::{executed, replayed, start};
use voice::{Asked, Voice};

/// Heights above ours for which the core keeps messages, and how many of each.
const QUEUE_HEIGHTS: usize = 4;
const QUEUE_MESSAGES: usize = 1024;

/// What a voter hears.
#[derive(Clone, Debug)]
pub enum Input {
    /// A signed vote of any validator.
    Vote(Signed<Vote>),
    /// A signed proposal.
    Proposal(Signed<Proposal>),
    /// A quorum of prevotes.
    Polka(Certificate),
    /// Votes that let us skip rounds.
    Rounds(RoundCertificate),
    /// The block we were asked to build.
    Built {
        /// For this round.
        round: u32,
        /// Its name.
        block: BlockHash,
    },
    /// A peer's block was executed.
    Executed {
        /// The round it was proposed in.
        round: u32,
        /// By whom.
        proposer: ValidatorKey,
        /// Its name.
        block: BlockHash,
        /// Whether it keeps the rules.
        valid: bool,
    },
    /// Time passed.
    Tick,
}

/// What should happen, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this down; sync before anything else leaves.
    Journal(Record),
    /// Tell everyone.
    Publish(Gossip),
    /// It is our turn: build a block, answer with [`Input::Built`].
    Build {
        /// For this round.
        round: u32,
    },
    /// Send the body of this block to everyone again.
    Restream {
        /// The round in which it is proposed again.
        round: u32,
        /// Its name.
        block: BlockHash,
    },
    /// The block is final.
    Decide {
        /// Why.
        certificate: Certificate,
        /// Who misbehaved on the way.
        evidence: Vec<Evidence>,
    },
}

/// The voter must not go on: what it would say next could contradict what it said before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("consensus stopped at height {height}: {why}")]
pub struct Fatal {
    /// Where.
    pub height: Height,
    /// Why.
    pub why: String,
}

/// One voter at one height after the other.
pub struct Engine {
    core: State<Ours>,
    voice: Voice,
    timeouts: Timeouts,
    timers: BTreeMap<(Round, u8), (Time, Timeout)>,
    decided: Option<Certificate>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("height", &self.height())
            .field("round", &self.round())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// A voter that has not begun; [`Engine::start`] or [`Engine::resume`] is next.
    pub fn new(domain: Domain, key: SecretKey, timeouts: Timeouts, height: Height, set: ValidatorSet) -> Self {
        let params = Params {
            address: Address(key.validator()),
            threshold_params: malachite_core::ThresholdParams::default(),
            // A block is executed before it is voted for: in `ProposalOnly` the core takes every proposal for valid.
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let core = State::new(Ours, CoreHeight(height), set, params, QUEUE_HEIGHTS, QUEUE_MESSAGES);
        let voice = Voice {
            key,
            domain,
            verdicts: Verdicts::new(domain),
            replaying: false,
        };
        Self {
            core,
            voice,
            timeouts,
            timers: BTreeMap::new(),
            decided: None,
        }
    }

    /// Whose voice this is.
    pub fn validator(&self) -> ValidatorKey {
        self.core.address().0
    }

    /// The height being decided.
    pub fn height(&self) -> Height {
        self.core.height().0
    }

    /// The round it is in.
    pub fn round(&self) -> u32 {
        number(self.core.round()).unwrap_or(0)
    }

    /// Whether `author` signed `message`. A good answer is remembered until the height ends.
    pub fn verifies<T: Preimage>(&self, signed: &Signed<T>, author: &crate::validator::Validator) -> bool {
        let signature = malachite_ed25519::Signature::from_bytes(signed.signature.0);
        self.voice.verdicts.is_good(&signed.message, &signature, &author.public)
    }

    /// Begins a height.
    pub fn start(&mut self, now: Time, height: Height, set: ValidatorSet, todo: &mut Vec<Effect>) -> Result<(), Fatal> {
        self.voice.verdicts.forget();
        self.feed(now, start(height, set, false), todo)
    }

    /// Begins a height again after a crash, from what was journalled: says again what was said, never anything else.
    pub fn resume(
        &mut self,
        now: Time,
        height: Height,
        set: ValidatorSet,
        records: &[Record],
        todo: &mut Vec<Effect>,
    ) -> Result<(), Fatal> {
        let inputs: Vec<_> = records.iter().filter_map(|record| replayed(height, record)).collect();
        self.voice.replaying = true;
        self.feed(now, start(height, set, true), todo)?;
        self.core.record_recovered_own_precommit_extensions(inputs.iter());
        self.core.index_wal_entries(inputs.iter());
        for input in inputs {
            if self.decided.is_some() {
                break;
            }
            self.feed(now, input, todo)?;
        }
        self.core.reset_entries_index();
        self.voice.replaying = false;
        // A round for which our proposal is journalled has its block.
        let ours = self.validator();
        let proposed = |round: u32| {
            records.iter().any(|record| {
                matches!(record, Record::Proposal(Signed { message, .. })
                    if message.proposer == ours && message.round == round)
            })
        };
        todo.retain(|effect| !matches!(effect, Effect::Build { round } if proposed(*round)));
        Ok(())
    }

    /// Takes one input and lists what should happen.
    pub fn step(&mut self, now: Time, input: Input, todo: &mut Vec<Effect>) -> Result<(), Fatal> {
        let height = CoreHeight(self.height());
        let input = match input {
            Input::Vote(vote) => CoreInput::Vote(signed_vote_in(&vote)),
            Input::Proposal(proposal) => CoreInput::Proposal(signed_proposal_in(&proposal)),
            Input::Polka(certificate) => CoreInput::PolkaCertificate(polka_in(&certificate)),
            Input::Rounds(certificate) => match rounds_in(&certificate) {
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

    /// When [`Engine::step`] next wants an [`Input::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        self.timers.values().map(|(due, _)| *due).min()
    }

    fn run_due_timers(&mut self, now: Time, todo: &mut Vec<Effect>) -> Result<(), Fatal> {
        // Taken one by one: a timer that fires may disarm the others.
        while let Some((&name, &(_, timeout))) = self.timers.iter().find(|(_, (due, _))| *due <= now) {
            self.timers.remove(&name);
            self.feed(now, CoreInput::TimeoutElapsed(timeout), todo)?;
        }
        Ok(())
    }

    /// Runs the core on one input to its end.
    fn feed(&mut self, now: Time, input: CoreInput<Ours>, todo: &mut Vec<Effect>) -> Result<(), Fatal> {
        let mut asked = Vec::new();
        let Self { core, voice, .. } = self;
        let done: Result<(), CoreError<Ours>> = process!(
            input: input, state: core, metrics: &(), with: effect => voice.answer(effect, &mut asked)
        );
        match done {
            Ok(()) => (),
            // These mean that the journal and what we would say now disagree, or that this file has a bug.
            Err(
                error @ (CoreError::ReplayDivergence(..)
                | CoreError::WalCorrupted(_)
                | CoreError::UnexpectedResume(..)
                | CoreError::DecisionNotFound(..)),
            ) => {
                return Err(Fatal {
                    height: self.height(),
                    why: error.to_string(),
                });
            }
            // These are about one message; it had no effect.
            Err(error) => tracing::debug!(%error, "consensus set a message aside"),
        }
        for one in asked {
            self.arrange(now, one, todo);
        }
        Ok(())
    }

    fn arrange(&mut self, now: Time, asked: Asked, todo: &mut Vec<Effect>) {
        match asked {
            Asked::Do(effect) => todo.push(effect),
            Asked::Arm(timeout) => {
                let due = now.after(self.timeouts.duration_for(timeout));
                self.timers.insert(timer_name(&timeout), (due, timeout));
            }
            Asked::Disarm(timeout) => drop(self.timers.remove(&timer_name(&timeout))),
            Asked::DisarmAll => self.timers.clear(),
            Asked::Decided(certificate) => self.decided = Some(certificate),
            Asked::Finalized(evidence) => {
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
