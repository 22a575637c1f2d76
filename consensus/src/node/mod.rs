//! The chain side of a daemon as one pure machine: it votes, builds and executes blocks, follows other nodes, and
//! keeps the mempool.
//!
//! [`Node::step`] takes the time and one input, and lists effects for its caller in order: what must be durable
//! stands before what may be sent. A step that sends signed messages syncs the journal once and then sends them
//! all. The machine never signs against an earlier vote of its own, not after a crash either: if its journal is
//! lost, torn or from another height, it stops signing instead of guessing (see [`JournalState`]).
//!
//! Left out: files and sockets, which are the caller's, and the meaning of a block, which is [`Execution`]'s.
//!
//! # Where to change what
//!
//! - `inbound`: messages from peers, from bytes to state changes.
//! - `candidates`: blocks proposed for the height being decided.
//! - `commit`: making a block final.
//! - `sync`, `catch_up`: finding peers that are ahead, and applying their final blocks.
//! - `recover`: starting from log, state and journal.
//! - `effects`: the types of inputs and effects.

mod candidates;
mod catch_up;
mod commit;
mod effects;
mod inbound;
mod recover;
mod sync;

pub use effects::{Effect, Fault, Input, Params, Signing, Verdict};
use protocol::{
    BlockHash, Height, NodeId, Time, TxHash, codec,
    crypto::SecretKey,
    event::Event,
    message::{
        chain::{Body, ChainRequest, Direct, Gossip},
        vote::Certificate,
    },
};
pub use recover::{JournalState, RecoverError};

use crate::{
    bft::{self, Bft, BftError},
    execution::{BlockContext, Execution, ExecutionError, Tip},
    journal::Record,
    mempool::{Mempool, PoolError, PooledTransaction},
    validator::ValidatorSet,
};
use candidates::Candidates;
use sync::Sync;

/// Interval at which a node tells its peers the height of its tip.
const STATUS_EVERY_MS: u64 = 1_000;

/// The chain side of one node. Created by [`Node::recover`] and driven by [`Node::step`].
pub struct Node<X> {
    params: Params,
    /// Executes blocks. The caller may read through it and must not change it.
    pub exec: X,
    pub pool: Mempool,
    tip: Tip,
    tip_certificate: Certificate,
    voting: ValidatorSet,
    previous_validators: ValidatorSet,
    bft: Option<Bft>,
    signing: Signing,
    running: bool,
    started_at: Time,
    candidates: Candidates,
    decided: Option<Certificate>,
    sync: Sync,
    early: Vec<(u64, NodeId, Gossip)>,
    next_request_id: u64,
    committed_at: Time,
    status_at: Time,
    /// Messages of this step, held back until the journal is synced.
    outgoing: Vec<Effect>,
    unsynced: bool,
    /// Effects of commits, held back until the block log is synced.
    after_log_sync: Vec<Effect>,
}

impl<X: Execution> Node<X> {
    /// The last final block. Its log entry may not be synced yet within a step.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// The certificate that made the tip final; the next block names its digest.
    pub fn certificate(&self) -> &Certificate {
        &self.tip_certificate
    }

    /// The validators that vote on the block above the tip.
    pub fn voting(&self) -> &ValidatorSet {
        &self.voting
    }

    /// The state of this node's right to sign, for status pages.
    pub fn signing(&self) -> &Signing {
        &self.signing
    }

    /// The round of the height being decided, 0 for a node without a validator key.
    pub fn round(&self) -> u32 {
        self.bft.as_ref().map_or(0, Bft::round)
    }

    /// The highest tip that a peer claims, or this node's own if that is higher.
    pub fn best_known(&self) -> Height {
        self.sync.best().max(self.tip.height)
    }

    /// Applies one input and appends the effects to `todo`. The caller performs them in order. An error means that
    /// this node's own state cannot be read or written; the machine must not be used after it.
    pub fn step(&mut self, now: Time, input: Input, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        match input {
            Input::Tick => (),
            Input::Connected(peer) => {
                self.sync.connected(peer);
                todo.push(Effect::Send(peer, self.status()));
            }
            Input::Disconnected(peer) => self.sync.disconnected(peer),
            Input::Gossip { id, from, bytes } => self.on_gossip(now, id, from, &bytes, todo)?,
            Input::Direct { from, bytes } => self.on_direct(now, from, &bytes, todo)?,
            Input::Request {
                request_id,
                from,
                bytes,
            } => self.on_request(request_id, from, &bytes, todo),
            Input::Reply {
                request_id,
                from,
                bytes,
            } => self.on_reply(now, request_id, from, bytes, todo)?,
        }
        self.run_timers(now, todo)?;
        self.release_outgoing(todo);
        assert!(self.outgoing.is_empty(), "a step leaves no message behind");
        Ok(())
    }

    /// The time at which [`Node::step`] needs an [`Input::Tick`] if nothing else arrives.
    pub fn deadline(&self) -> Time {
        let bft = self.bft.as_ref().filter(|_| self.running).and_then(Bft::deadline);
        let others = [
            bft,
            self.start_at(),
            self.candidates.deadline(),
            self.sync.deadline(self.tip.height),
        ];
        others.into_iter().flatten().fold(self.status_at, Time::min)
    }

    /// Adds transactions to the mempool. With `local` set they came from this node's users and are gossiped; those
    /// from gossip spread by their [`Verdict`].
    pub fn submit(
        &mut self,
        transactions: Vec<PooledTransaction>,
        local: bool,
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
        if local && !fresh.is_empty() {
            todo.push(Effect::GossipTransactions(fresh));
        }
        Ok(results)
    }

    fn status(&self) -> Vec<u8> {
        codec::encode(&Direct::Status { tip: self.tip.height })
    }

    /// Returns true if this node is a validator of the next block and may sign.
    fn may_sign(&self) -> bool {
        let allowed = match self.signing {
            Signing::On => true,
            Signing::After(height) => self.tip.height >= height,
            Signing::Keyless | Signing::Stopped(_) => false,
        };
        allowed
            && self
                .bft
                .as_ref()
                .is_some_and(|bft| self.voting.get(&bft.validator()).is_some())
    }

    /// The time at which to start the next height: soon if transactions wait, else at the heartbeat. A peer's
    /// message about that height starts it earlier.
    fn start_at(&self) -> Option<Time> {
        if self.running || !self.may_sign() {
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

    fn run_timers(&mut self, now: Time, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        if self.start_at().is_some_and(|at| at <= now) {
            self.start_height(now, todo)?;
        }
        if self.running && self.bft.as_ref().and_then(Bft::deadline).is_some_and(|at| at <= now) {
            self.step_bft(now, bft::Input::Tick, todo)?;
        }
        for (block, requests) in self.candidates.missing(now) {
            let peers: Vec<_> = self.sync.peers().collect();
            if let Some(to) = (!peers.is_empty()).then(|| peers[requests % peers.len()]) {
                self.request(
                    to,
                    &ChainRequest::Body {
                        height: self.tip.height.next(),
                        block,
                    },
                    todo,
                );
            }
        }
        if let Some(to) = self.sync.next_request(now, self.tip.height, self.next_request_id) {
            let from = self.tip.height.next();
            self.request(
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

    fn request(&mut self, to: NodeId, request: &ChainRequest, todo: &mut Vec<Effect>) {
        todo.push(Effect::Request {
            request_id: self.next_request_id,
            to,
            bytes: codec::encode(request),
        });
        self.next_request_id += 1;
    }

    /// Starts to decide the height above the tip.
    fn start_height(&mut self, now: Time, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        assert!(self.may_sign() && !self.running);
        (self.running, self.started_at) = (true, now);
        let (height, set) = (self.tip.height.next(), self.voting.clone());
        let mut effects = Vec::new();
        let bft = self.bft.as_mut().expect("a node that may sign has a `Bft`");
        let done = bft.start(now, height, set, &mut effects);
        self.perform_bft_effects(now, done, effects, todo)
    }

    /// Feeds one input to the consensus core and performs its effects.
    fn step_bft(&mut self, now: Time, input: bft::Input, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        let Some(bft) = self.bft.as_mut().filter(|_| self.running) else {
            return Ok(());
        };
        let mut effects = Vec::new();
        let done = bft.step(now, input, &mut effects);
        self.perform_bft_effects(now, done, effects, todo)
    }

    fn perform_bft_effects(
        &mut self,
        now: Time,
        done: Result<(), BftError>,
        effects: Vec<bft::Effect>,
        todo: &mut Vec<Effect>,
    ) -> Result<(), ExecutionError> {
        if let Err(error) = done {
            // What the core asked for before it failed is dropped: silence contradicts nothing.
            self.stop_signing(error.to_string(), todo);
            return Ok(());
        }
        let height = self.tip.height;
        for effect in effects {
            if self.tip.height != height {
                break; // Decided meanwhile: the other effects are about a height that is over.
            }
            match effect {
                bft::Effect::Journal(record) => self.journal(&record, todo),
                bft::Effect::Publish(message) => self.publish(&message),
                bft::Effect::Build { round } => self.build(now, round, todo)?,
                bft::Effect::Restream { block, .. } => self.restream(&block),
                bft::Effect::Decide { certificate, evidence } => {
                    self.on_decided(now, certificate, evidence, todo)?;
                }
            }
        }
        Ok(())
    }

    fn journal(&mut self, record: &Record, todo: &mut Vec<Effect>) {
        todo.push(Effect::Journal(codec::encode(record)));
        self.unsynced = true;
    }

    fn publish(&mut self, message: &Gossip) {
        self.outgoing.push(Effect::Gossip(codec::encode(message)));
    }

    /// Moves the messages of this step to `todo`, behind a journal sync if a record was written. Records of a step
    /// without messages need no sync: nothing depends on them yet.
    fn release_outgoing(&mut self, todo: &mut Vec<Effect>) {
        if !self.outgoing.is_empty() && std::mem::take(&mut self.unsynced) {
            todo.push(Effect::JournalSync);
        }
        todo.append(&mut self.outgoing);
    }

    /// Stops signing for good, for instance because the caller found damage in this node's own data. The node goes on
    /// following the chain.
    pub fn stop_signing(&mut self, why: String, todo: &mut Vec<Effect>) {
        self.running = false;
        self.outgoing.clear();
        todo.push(Effect::Event(Event::StoppedSigning { why: why.clone() }));
        self.signing = Signing::Stopped(why);
    }

    fn build(&mut self, now: Time, round: u32, todo: &mut Vec<Effect>) -> Result<(), ExecutionError> {
        let height = self.tip.height.next();
        let validator = self.bft.as_ref().expect("only a `Bft` asks for blocks").validator();
        let proposer = self
            .voting
            .get(&validator)
            .expect("only validators are asked to build")
            .account;
        let slot = BlockContext {
            height,
            time: now,
            proposer,
            parent_certificate: self.tip_certificate.digest(),
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
            parent_certificate: self.tip_certificate.clone(),
        };
        // A body is not signed and commits this node to nothing, so it may be sent before the journal is synced.
        // Peers execute it meanwhile.
        todo.push(Effect::SendAll(codec::encode(&Direct::Body(body.clone()))));
        self.journal(&Record::Body(body.clone()), todo);
        if let Some(known) = self.candidates.want(now, built.hash, Some((round, validator))) {
            known.body = Some(body);
            known.valid = Some(true);
        }
        self.step_bft(
            now,
            bft::Input::Built {
                round,
                block: built.hash,
            },
            todo,
        )
    }

    fn restream(&mut self, block: &BlockHash) {
        if let Some(body) = self.candidates.get(block).and_then(|known| known.body.clone()) {
            self.outgoing.push(Effect::SendAll(codec::encode(&Direct::Body(body))));
        }
    }
}

fn bft(params: &Params, key: SecretKey, height: Height, set: &ValidatorSet) -> Bft {
    Bft::new(params.domain, key, params.timeouts, height, set.clone())
}

#[cfg(test)]
mod tests;
