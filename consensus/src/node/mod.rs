//! The chain side of a daemon as one pure machine: it votes, builds, executes, catches up, and keeps the mempool.
//!
//! [`Node::step`] is told the time and one thing that happened, and lists what should be done, in order: what must be
//! durable stands before what may be spoken. A step that has something to say syncs the journal once, then says it all.
//! The machine promises never to vote against an earlier vote of its own, not after a crash either: a journal that is
//! lost, torn or from elsewhere makes it sit out rather than guess.
//!
//! Left out: reading and writing the log (the shell answers for it), sockets, and what a block means.

mod bodies;
mod catch_up;
mod commit;
mod hear;
mod recover;
mod sync;
mod talk;

use protocol::{
    BlockHash, Height, NodeId, Time, TxHash, codec,
    crypto::SecretKey,
    event::Event,
    message::{
        chain::{Body, ChainRequest, Direct, Gossip},
        vote::Certificate,
    },
};
pub use recover::{Journalled, RecoverError};
pub use talk::{Effect, Fault, Input, Params, Signing, Verdict};

use crate::{
    engine::{self, Engine, Fatal},
    execution::{Execution, ExecutionError, Slot, Tip},
    journal::Record,
    mempool::{Mempool, PoolError, Pooled},
    validator::ValidatorSet,
};
use bodies::Bodies;
use sync::Sync;

/// How often a node says where its chain ends.
const STATUS_EVERY_MS: u64 = 1_000;

/// The machine.
pub struct Node<X> {
    params: Params,
    /// Executes; the shell may look through it, never change it.
    pub exec: X,
    /// Transactions that wait.
    pub pool: Mempool,
    tip: Tip,
    last: Certificate,
    voting: ValidatorSet,
    before: ValidatorSet,
    engine: Option<Engine>,
    signing: Signing,
    running: bool,
    began_at: Time,
    bodies: Bodies,
    decided: Option<Certificate>,
    sync: Sync,
    early: Vec<(u64, NodeId, Gossip)>,
    tickets: u64,
    committed_at: Time,
    status_at: Time,
    /// Said in this step, held back until the journal is synced.
    speech: Vec<Effect>,
    unsynced: bool,
    /// Committed, to be shown once the log is synced.
    shown: Vec<Effect>,
}

impl<X: Execution> Node<X> {
    /// The last final block.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// The certificate of the tip.
    pub fn certificate(&self) -> &Certificate {
        &self.last
    }

    /// Who votes on the next block.
    pub fn voting(&self) -> &ValidatorSet {
        &self.voting
    }

    /// Whether this node signs.
    pub fn signing(&self) -> &Signing {
        &self.signing
    }

    /// The round of the height being decided.
    pub fn round(&self) -> u32 {
        self.engine.as_ref().map_or(0, Engine::round)
    }

    /// The highest tip that a peer claims.
    pub fn best_known(&self) -> Height {
        self.sync.best().max(self.tip.height)
    }

    /// Takes one input and lists what should be done.
    pub fn step(&mut self, now: Time, input: Input, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        match input {
            Input::Tick => (),
            Input::Connected(peer) => {
                self.sync.connected(peer);
                todo.push(Effect::Send(peer, self.status()));
            }
            Input::Disconnected(peer) => self.sync.disconnected(peer),
            Input::Gossip { id, from, bytes } => self.hear_gossip(now, id, from, &bytes, todo)?,
            Input::Direct { from, bytes } => self.hear_direct(now, from, &bytes, todo)?,
            Input::Asked { ticket, from, bytes } => self.hear_question(ticket, from, &bytes, todo),
            Input::Answered { ticket, from, bytes } => self.hear_answer(now, ticket, from, bytes, todo)?,
        }
        self.run_due(now, todo)?;
        self.speak(todo);
        assert!(self.speech.is_empty(), "a step leaves nothing unsaid");
        Ok(())
    }

    /// When [`Node::step`] next wants an [`Input::Tick`].
    pub fn deadline(&self) -> Time {
        let engine = self.engine.as_ref().filter(|_| self.running).and_then(Engine::deadline);
        let others = [
            engine,
            self.begin_at(),
            self.bodies.deadline(),
            self.sync.deadline(self.tip.height),
        ];
        others.into_iter().flatten().fold(self.status_at, Time::min)
    }

    /// Takes transactions in. Those that came from a peer are not spread again: gossip does that by their verdict.
    pub fn submit(
        &mut self,
        transactions: Vec<Pooled>,
        ours: bool,
        todo: &mut Vec<Effect>,
    ) -> Result<Vec<Result<TxHash, PoolError>>, ExecutionError> {
        let mut fresh = Vec::new();
        let mut results = Vec::with_capacity(transactions.len());
        for tx in transactions {
            let (hash, raw) = (tx.hash, tx.raw.clone());
            let account = self.exec.account(tx.sender)?;
            let result = self.pool.insert(tx, account);
            fresh.extend(result.is_ok().then_some(raw));
            results.push(result.map(|()| hash));
        }
        if ours && !fresh.is_empty() {
            todo.push(Effect::Spread(fresh));
        }
        Ok(results)
    }

    fn status(&self) -> Vec<u8> {
        codec::encode(&Direct::Status { tip: self.tip.height })
    }

    /// Whether this node has a vote on the next block and may use it.
    fn votes(&self) -> bool {
        let allowed = match self.signing {
            Signing::On => true,
            Signing::After(height) => self.tip.height >= height,
            Signing::Keyless | Signing::Stopped(_) => false,
        };
        allowed
            && self
                .engine
                .as_ref()
                .is_some_and(|engine| self.voting.get(&engine.validator()).is_some())
    }

    /// When to begin the next height: at once for waiting transactions, else for the heartbeat. A peer that begins
    /// earlier takes us with it.
    fn begin_at(&self) -> Option<Time> {
        if self.running || !self.votes() {
            return None;
        }
        let ready = self.pool.has_ready(self.tip.next_base_fee);
        let wait = if ready {
            self.params.interval_min_ms
        } else {
            self.params.heartbeat_ms
        };
        Some(self.committed_at.after_ms(wait))
    }

    fn run_due(&mut self, now: Time, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        if self.begin_at().is_some_and(|at| at <= now) {
            self.begin(now, todo)?;
        }
        if self.running
            && self
                .engine
                .as_ref()
                .and_then(Engine::deadline)
                .is_some_and(|at| at <= now)
        {
            self.vote(now, engine::Input::Tick, todo)?;
        }
        for (block, asked) in self.bodies.missing(now) {
            let peers: Vec<_> = self.sync.peers().collect();
            if let Some(to) = (!peers.is_empty()).then(|| peers[asked % peers.len()]) {
                self.ask(
                    to,
                    &ChainRequest::Body {
                        height: self.tip.height.next(),
                        block,
                    },
                    todo,
                );
            }
        }
        if let Some(to) = self.sync.ask(now, self.tip.height, self.tickets) {
            let from = self.tip.height.next();
            self.ask(
                to,
                &ChainRequest::Blocks {
                    from,
                    count: protocol::message::chain::BLOCKS_MAX,
                },
                todo,
            );
        }
        if self.status_at <= now {
            self.status_at = now.after_ms(STATUS_EVERY_MS);
            todo.push(Effect::SendAll(self.status()));
        }
        Ok(())
    }

    fn ask(&mut self, to: NodeId, request: &ChainRequest, todo: &mut Vec<Effect>) {
        todo.push(Effect::Ask {
            ticket: self.tickets,
            to,
            bytes: codec::encode(request),
        });
        self.tickets += 1;
    }

    /// Begins to decide the height above the tip.
    fn begin(&mut self, now: Time, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        assert!(self.votes() && !self.running);
        (self.running, self.began_at) = (true, now);
        let (height, set) = (self.tip.height.next(), self.voting.clone());
        let mut asked = Vec::new();
        let engine = self.engine.as_mut().expect("whoever votes has an engine");
        let done = engine.start(now, height, set, &mut asked);
        self.act(now, done, asked, todo)
    }

    /// Gives the engine one input and does what it asks for, and what follows from that, to the end.
    fn vote(&mut self, now: Time, input: engine::Input, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        let Some(engine) = self.engine.as_mut().filter(|_| self.running) else {
            return Ok(());
        };
        let mut asked = Vec::new();
        let done = engine.step(now, input, &mut asked);
        self.act(now, done, asked, todo)
    }

    fn act(
        &mut self,
        now: Time,
        done: Result<(), Fatal>,
        asked: Vec<engine::Effect>,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        if let Err(fatal) = done {
            // What was asked for before the failure is dropped: silence never contradicts anything.
            self.stop_signing(fatal.to_string(), todo);
            return Ok(());
        }
        let height = self.tip.height;
        for effect in asked {
            if self.tip.height != height {
                break; // Decided in between: the rest was about a height that is over.
            }
            match effect {
                engine::Effect::Journal(record) => self.journal(&record, todo),
                engine::Effect::Publish(message) => self.say(&message),
                engine::Effect::Build { round } => self.build(now, round, todo)?,
                engine::Effect::Restream { block, .. } => self.restream(&block),
                engine::Effect::Decide { certificate, evidence } => {
                    self.finish(now, certificate, evidence, todo)?;
                }
            }
        }
        Ok(())
    }

    fn journal(&mut self, record: &Record, todo: &mut Vec<Effect>) {
        todo.push(Effect::Journal(codec::encode(record)));
        self.unsynced = true;
    }

    fn say(&mut self, message: &Gossip) {
        self.speech.push(Effect::Gossip(codec::encode(message)));
    }

    /// Says what was held back, once everything it stands on is durable. What was only heard may be lost.
    fn speak(&mut self, todo: &mut Vec<Effect>) {
        if !self.speech.is_empty() && std::mem::take(&mut self.unsynced) {
            todo.push(Effect::JournalSync);
        }
        todo.append(&mut self.speech);
    }

    /// The shell found that this node's own data is damaged: it goes on following and signs nothing more.
    pub fn distrust(&mut self, why: String, todo: &mut Vec<Effect>) {
        self.stop_signing(why, todo);
    }

    fn stop_signing(&mut self, why: String, todo: &mut Vec<Effect>) {
        self.running = false;
        self.speech.clear();
        todo.push(Effect::Happened(Event::StoppedSigning { why: why.clone() }));
        self.signing = Signing::Stopped(why);
    }

    fn build(&mut self, now: Time, round: u32, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        let height = self.tip.height.next();
        let validator = self
            .engine
            .as_ref()
            .expect("only an engine asks for blocks")
            .validator();
        let proposer = self
            .voting
            .get(&validator)
            .expect("only validators are asked to build")
            .account;
        let slot = Slot {
            height,
            time: now,
            proposer,
            parent_certificate: self.last.digest(),
        };
        let offered = self.pool.best(
            self.tip.next_base_fee,
            self.params.block_gas,
            self.params.block_bytes_max,
        );
        let built = self.exec.build(&slot, &offered)?;
        self.pool.forget(&built.rejected);

        let body = Body {
            height,
            round,
            block: built.block,
            parent_certificate: self.last.clone(),
        };
        // A body claims nothing, so it may leave before the journal is synced: peers execute it meanwhile.
        todo.push(Effect::SendAll(codec::encode(&Direct::Body(body.clone()))));
        self.journal(&Record::Body(body.clone()), todo);
        if let Some(known) = self.bodies.name(now, built.hash, Some((round, validator))) {
            known.body = Some(body);
            known.valid = Some(true);
        }
        self.vote(
            now,
            engine::Input::Built {
                round,
                block: built.hash,
            },
            todo,
        )
    }

    fn restream(&mut self, block: &BlockHash) {
        if let Some(body) = self.bodies.get(block).and_then(|known| known.body.clone()) {
            self.speech.push(Effect::SendAll(codec::encode(&Direct::Body(body))));
        }
    }
}

/// The engine of a node that has a validator key.
fn engine(params: &Params, key: SecretKey, height: Height, set: &ValidatorSet) -> Engine {
    Engine::new(params.domain, key, params.timeouts, height, set.clone())
}

#[cfg(test)]
mod tests;
