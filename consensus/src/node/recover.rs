//! Starts a node from its block log, its state and its journal, so that it signs exactly what it may sign.
//!
//! | journal                 | what this node knows                         | what it does                           |
//! |-------------------------|----------------------------------------------|----------------------------------------|
//! | of the next height      | everything that it signed there              | replays the records and goes on        |
//! | of an earlier height    | that height is final; nothing signed since   | starts the next height                 |
//! | of a later height       | its log lost blocks                          | signs nothing up to that height        |
//! | missing, no blocks      | it is a new node                             | starts at height 1                     |
//! | missing, with blocks    | nothing: it may have voted on the next block | signs nothing at the next height       |
//! | corrupt                 | less than it signed                          | signs nothing; the operator decides    |

use protocol::{Height, Time, crypto::SecretKey, event::Event, message::vote::Certificate};

use super::{Effect, Node, Params, Signing, bft, candidates::Candidates, sync::Sync};
use crate::{
    bft::BftError,
    execution::{Execution, ExecutionError},
    journal::{self, Record},
    mempool::Mempool,
    validator::{SetError, ValidatorSet},
};

/// The consensus journal as the caller found it on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalState {
    Missing,
    /// The records of one height, in order.
    At(Height, Vec<Vec<u8>>),
    /// The journal is damaged. The text says where, and what to do.
    Corrupt(String),
}

/// Reason that a node cannot start. A damaged journal is none: the node then starts without signing.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("could not read the chain state")]
    Execution(#[from] ExecutionError),
    /// The stakers of the epoch make no validator set.
    #[error("the chain state names no usable validators")]
    Validators(#[from] SetError),
}

impl<X: Execution> Node<X> {
    /// Creates a node. `last` is the certificate of the execution's tip, or [`Certificate::genesis`] at height 0.
    /// Effects of the start, such as repeated votes, are appended to `todo`.
    pub fn recover(
        params: Params,
        key: Option<SecretKey>,
        exec: X,
        last: Certificate,
        journal: &JournalState,
        now: Time,
        todo: &mut Vec<Effect>,
    ) -> Result<Self, RecoverError> {
        let tip = exec.tip();
        assert_eq!(
            (last.height, last.block),
            (tip.height, tip.hash),
            "the certificate is the tip's"
        );
        let epoch = exec.epoch()?;
        let (voting, previous_validators) = (ValidatorSet::new(&epoch.voting)?, ValidatorSet::new(&epoch.previous)?);
        let signing = if key.is_some() { Signing::On } else { Signing::Keyless };
        let mut node = Self {
            bft: key.map(|key| bft(&params, key, tip.height.next(), &voting)),
            pool: Mempool::new(params.pool),
            params,
            exec,
            tip,
            tip_certificate: last,
            voting,
            previous_validators,
            signing,
            running: false,
            started_at: now,
            candidates: Candidates::default(),
            decided: None,
            sync: Sync::default(),
            early: Vec::new(),
            next_request_id: 0,
            committed_at: now,
            status_at: now,
            outgoing: Vec::new(),
            unsynced: false,
            after_log_sync: Vec::new(),
        };
        node.replay_journal(now, journal, todo)?;
        node.release_outgoing(todo);
        Ok(node)
    }

    /// Decides from the journal if the node goes on, starts afresh or stops signing; the module's table has the
    /// cases.
    fn replay_journal(
        &mut self,
        now: Time,
        journal: &JournalState,
        todo: &mut Vec<Effect>,
    ) -> Result<(), RecoverError> {
        let next = self.tip.height.next();
        if self.bft.is_none() {
            return Ok(());
        }
        match journal {
            JournalState::Missing if self.tip.height == Height(0) => todo.push(Effect::JournalStart(next)),
            JournalState::Missing => self.pause_signing(next, "its consensus journal is missing", todo),
            JournalState::At(height, _) if *height > next => {
                self.pause_signing(*height, "its block log ends before the height it last voted on", todo);
            }
            JournalState::At(height, _) if *height < next => todo.push(Effect::JournalStart(next)),
            JournalState::At(_, records) => match journal::read(records) {
                Ok(records) => self.replay(now, &records, todo)?,
                Err(error) => self.stop_signing(error.to_string(), todo),
            },
            JournalState::Corrupt(why) => self.stop_signing(why.clone(), todo),
        }
        Ok(())
    }

    fn pause_signing(&mut self, until: Height, why: &str, todo: &mut Vec<Effect>) {
        let why = format!("{why}: it may have voted up to height {until} and signs nothing until that height is final");
        todo.push(Effect::Event(Event::StoppedSigning { why }));
        self.signing = Signing::After(until);
    }

    /// Executes the journalled bodies again and feeds the records to the core, in order.
    fn replay(&mut self, now: Time, records: &[Record], todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        if records.is_empty() || !self.may_sign() {
            return Ok(());
        }
        for record in records {
            let Record::Body(body) = record else { continue };
            let named = self
                .exec
                .header_claim(&body.block)
                .expect("a journalled body was executed before");
            // Its timestamp was checked when it was voted for, and the clock may have changed since.
            if let Some(why) = self.check_body(Time(u64::MAX), body)? {
                self.stop_signing(format!("a block that this node voted for is invalid now: {why}"), todo);
                return Ok(());
            }
            let proposals = records.iter().filter_map(|record| match record {
                Record::Executed {
                    round, proposer, block, ..
                } if *block == named.hash => Some((*round, *proposer)),
                _ => None,
            });
            for proposal in proposals.map(Some).chain([None]) {
                if let Some(known) = self.candidates.want(now, named.hash, proposal) {
                    known.body = Some(body.clone());
                    known.valid = Some(true);
                }
            }
        }
        (self.running, self.started_at) = (true, now);
        let (height, set) = (self.tip.height.next(), self.voting.clone());
        let mut effects = Vec::new();
        let bft = self.bft.as_mut().expect("a node that may sign has a `Bft`");
        let done: Result<(), BftError> = bft.resume(now, height, set, records, &mut effects);
        self.perform_bft_effects(now, done, effects, todo)
    }
}
