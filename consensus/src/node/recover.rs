//! How a node comes up: from its log, its state and its journal, to exactly the vote it may cast next.
//!
//! | journal                       | what is known                              | the node                              |
//! |-------------------------------|--------------------------------------------|---------------------------------------|
//! | of the next height            | everything it said there                   | replays it and goes on                |
//! | of an earlier height          | that height is final; nothing said since   | starts the next height                |
//! | of a later height             | the log lost blocks                        | signs nothing up to that height       |
//! | none, and no blocks           | a new node                                 | starts at height 1                    |
//! | none, but blocks              | nothing: it may have voted on the next     | signs nothing at the next height      |
//! | corrupt                       | less than it said                          | does not sign; the operator decides   |

use protocol::{Height, Time, crypto::SecretKey, event::Event, message::vote::Certificate};

use super::{Effect, Node, Params, Signing, bodies::Bodies, engine, sync::Sync};
use crate::{
    engine::Fatal,
    execution::{Execution, ExecutionError},
    journal::{self, Record},
    mempool::Mempool,
    validator::{SetError, ValidatorSet},
};

/// What the shell found of the consensus journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Journalled {
    /// There is none.
    None,
    /// The records of one height, in order.
    At(Height, Vec<Vec<u8>>),
    /// It is damaged: where, and what to do, in words.
    Corrupt(String),
}

/// Why a node cannot come up at all.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// State cannot be read.
    #[error("could not read the chain state")]
    Execution(#[from] ExecutionError),
    /// The validators of the epoch make no set.
    #[error("the chain state names no usable validators")]
    Validators(#[from] SetError),
}

impl<X: Execution> Node<X> {
    /// Brings a node up. `last` is the certificate of the execution's tip, [`Certificate::genesis`] at height 0.
    pub fn recover(
        params: Params,
        key: Option<SecretKey>,
        exec: X,
        last: Certificate,
        journalled: &Journalled,
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
        let (voting, before) = (ValidatorSet::new(&epoch.voting)?, ValidatorSet::new(&epoch.before)?);
        let signing = if key.is_some() { Signing::On } else { Signing::Keyless };
        let mut node = Self {
            engine: key.map(|key| engine(&params, key, tip.height.next(), &voting)),
            pool: Mempool::new(params.pool),
            params,
            exec,
            tip,
            last,
            voting,
            before,
            signing,
            running: false,
            began_at: now,
            bodies: Bodies::default(),
            decided: None,
            sync: Sync::default(),
            early: Vec::new(),
            tickets: 0,
            committed_at: now,
            status_at: now,
            speech: Vec::new(),
            unsynced: false,
            shown: Vec::new(),
        };
        node.take_up(now, journalled, todo)?;
        node.speak(todo);
        Ok(node)
    }

    fn take_up(&mut self, now: Time, journalled: &Journalled, todo: &mut Vec<Effect>) -> Result<(), RecoverError> {
        let next = self.tip.height.next();
        if self.engine.is_none() {
            return Ok(());
        }
        match journalled {
            Journalled::None if self.tip.height == Height(0) => todo.push(Effect::JournalStart(next)),
            Journalled::None => self.sit_out(next, "its consensus journal is missing", todo),
            Journalled::At(height, _) if *height > next => {
                self.sit_out(*height, "its block log ends before the height it last voted on", todo);
            }
            Journalled::At(height, _) if *height < next => todo.push(Effect::JournalStart(next)),
            Journalled::At(_, records) => match journal::read(records) {
                Ok(records) => self.replay(now, &records, todo)?,
                Err(error) => self.stop_signing(error.to_string(), todo),
            },
            Journalled::Corrupt(why) => self.stop_signing(why.clone(), todo),
        }
        Ok(())
    }

    fn sit_out(&mut self, until: Height, why: &str, todo: &mut Vec<Effect>) {
        let why = format!("{why}: it may have voted up to height {until} and signs nothing until that is final");
        todo.push(Effect::Happened(Event::StoppedSigning { why }));
        self.signing = Signing::After(until);
    }

    /// Executes the journalled bodies again and feeds the records back, in order.
    fn replay(&mut self, now: Time, records: &[Record], todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        if records.is_empty() || !self.votes() {
            return Ok(());
        }
        for record in records {
            let Record::Body(body) = record else { continue };
            let named = self
                .exec
                .name(&body.block)
                .expect("a journalled body was executed before");
            if let Some(why) = self.check_body(Time(u64::MAX), body)? {
                self.stop_signing(format!("a block that this node voted for no longer holds: {why}"), todo);
                return Ok(());
            }
            let proposals = records.iter().filter_map(|record| match record {
                Record::Executed {
                    round, proposer, block, ..
                } if *block == named.hash => Some((*round, *proposer)),
                _ => None,
            });
            for proposal in proposals.map(Some).chain([None]) {
                if let Some(known) = self.bodies.name(now, named.hash, proposal) {
                    known.body = Some(body.clone());
                    known.valid = Some(true);
                }
            }
        }
        (self.running, self.began_at) = (true, now);
        let (height, set) = (self.tip.height.next(), self.voting.clone());
        let mut asked = Vec::new();
        let engine = self.engine.as_mut().expect("whoever votes has an engine");
        let done: Result<(), Fatal> = engine.resume(now, height, set, records, &mut asked);
        self.act(now, done, asked, todo)
    }
}
