//! The thread itself: waits for a command or a deadline, steps the machine, and does what it says, in order.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use consensus::{
    execution::Committed,
    node::{Effect, Fault, Input, Verdict},
};
use net::{GossipId, Offence, RequestId, Topic};
use protocol::{
    Height, NodeId, codec,
    event::Event,
    message::chain::{ChainReply, GOSSIP_MAX, REPLY_MAX},
};
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, warn};

use super::{Chain, ChainError, Command, DIRECT_CHAIN, DIRECT_GOSSIP, DIRECT_TRANSACTIONS, Head, INBOX, Parts, View};
use base::words::chained;

/// Answered log entries stop short of the limit of an answer.
const ANSWER_BUDGET: usize = REPLY_MAX / 4;

/// Digests of what was said lately.
#[derive(Default)]
struct Said(VecDeque<blake3::Hash>);

impl Said {
    const MAX: usize = 512;

    /// Whether these bytes were said before; remembers them.
    fn before(&mut self, bytes: &[u8]) -> bool {
        let digest = blake3::hash(bytes);
        let known = self.0.contains(&digest);
        if !known {
            self.0.push_back(digest);
            if self.0.len() > Self::MAX {
                self.0.pop_front();
            }
        }
        known
    }
}

pub(super) struct Shell {
    parts: Parts,
    chain: Chain,
    heads: watch::Sender<Head>,
    view: View,
    inbox: mpsc::Receiver<Command>,
    said: Said,
    /// Gossip and questions that the machine has not answered yet, under the numbers it knows them by.
    gossip: BTreeMap<u64, GossipId>,
    questions: BTreeMap<u64, RequestId>,
    numbers: u64,
    unflushed: u64,
}

impl Shell {
    pub(super) fn new(
        parts: Parts,
        chain: Chain,
        heads: watch::Sender<Head>,
        view: View,
        inbox: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            parts,
            chain,
            heads,
            view,
            inbox,
            said: Said::default(),
            gossip: BTreeMap::new(),
            questions: BTreeMap::new(),
            numbers: 0,
            unflushed: 0,
        }
    }

    pub(super) fn run(mut self) -> Result<(), ChainError> {
        // A runtime of its own, only to wait for a command or a deadline, whichever comes first.
        let waiting = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without IO needs nothing that could be missing");
        let first = std::mem::take(&mut self.parts.first);
        let done = self.perform(first).and_then(|()| waiting.block_on(self.serve()));
        if let Err(why) = &done {
            error!(error = %chained(why), "the chain stopped");
        }
        // What is not flushed is executed again from the log: a failure here costs time only.
        if let Err(why) = self.parts.node.exec.flush() {
            warn!(error = %chained(&why), "the state was not flushed");
        }
        done
    }

    async fn serve(&mut self) -> Result<(), ChainError> {
        loop {
            let wait = self.parts.clock.until(self.parts.node.deadline());
            let command = tokio::select! {
                biased;
                command = self.inbox.recv() => command,
                () = tokio::time::sleep(wait) => Some(Command::Heard(Input::Tick)),
            };
            let Some(command) = command else { return Ok(()) };
            let mut todo = Vec::new();
            let now = self.parts.clock.now();
            match command {
                Command::Heard(input) => self.parts.node.step(now, input, &mut todo)?,
                Command::Gossip(id, from, bytes) => {
                    let number = self.number();
                    self.gossip.insert(number, id);
                    self.parts.node.step(
                        now,
                        Input::Gossip {
                            id: number,
                            from,
                            bytes,
                        },
                        &mut todo,
                    )?;
                }
                Command::Request(id, from, bytes) => {
                    let ticket = self.number();
                    self.questions.insert(ticket, id);
                    self.parts
                        .node
                        .step(now, Input::Asked { ticket, from, bytes }, &mut todo)?;
                    if self.questions.len() > INBOX {
                        self.questions.pop_first();
                    }
                }
                Command::Submit {
                    transactions,
                    ours,
                    reply,
                } => {
                    let results = self.parts.node.submit(transactions, ours, &mut todo)?;
                    // Whoever asked may be gone; the transactions are here all the same.
                    drop(reply.send(results));
                }
                Command::Look(look) => look(&self.parts.node),
                Command::Damaged(why) => self.parts.node.distrust(why, &mut todo),
                Command::Stop => return Ok(()),
            }
            self.perform(todo)?;
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Does what the machine says, in its order: what must be durable is durable before the next effect is looked at.
    fn perform(&mut self, todo: Vec<Effect>) -> Result<(), ChainError> {
        for effect in todo {
            match effect {
                Effect::Journal(record) => self.parts.wal.append(&record)?,
                Effect::JournalSync => self.timed(|parts| Ok(parts.wal.sync()?))?,
                Effect::JournalStart(height) => {
                    if self.parts.wal.height() < height {
                        self.parts.wal.start_height(height)?;
                    }
                }
                Effect::Log { height, entry } => self.parts.log.append(height, &entry)?,
                Effect::LogSync => self.timed(|parts| Ok(parts.log.sync()?))?,
                Effect::Gossip(bytes) => self.say(bytes),
                Effect::Spread(raw) => self.spread(&raw),
                Effect::Verdict(id, verdict) => self.judge(id, verdict),
                Effect::Send(to, bytes) => self.send(to, DIRECT_CHAIN, &bytes),
                Effect::SendAll(bytes) => self.send_all(DIRECT_CHAIN, &bytes),
                Effect::Ask { ticket, to, bytes } => self.ask(ticket, to, bytes),
                Effect::Answer(ticket, bytes) => self.answer(ticket, bytes),
                Effect::AnswerBlocks { ticket, from, count } => self.answer_blocks(ticket, from, count),
                Effect::Blame(peer, fault) => self.blame(peer, fault),
                Effect::Committed(committed) => self.show(&committed)?,
                Effect::Happened(event) => self.tell(event),
            }
        }
        Ok(())
    }

    fn timed(&mut self, sync: impl FnOnce(&mut Parts) -> Result<(), ChainError>) -> Result<(), ChainError> {
        let before = self.parts.clock.now();
        sync(&mut self.parts)?;
        let took = u64::try_from(self.parts.clock.now().since(before).as_micros()).unwrap_or(u64::MAX);
        self.chain.counters.sync_us.fetch_add(took, Ordering::Relaxed);
        Ok(())
    }

    /// Says something about consensus to everyone. The machine repeats itself when nothing moves; gossip would drop that.
    fn say(&mut self, bytes: Vec<u8>) {
        if self.said.before(&bytes) {
            self.send_all(DIRECT_GOSSIP, &bytes);
        } else {
            self.gossip(Topic::Votes, bytes);
        }
    }

    fn gossip(&self, topic: Topic, bytes: Vec<u8>) {
        if let Err(why) = self.parts.net.gossip(topic, bytes) {
            debug!(%why, "gossip was not sent");
        }
    }

    /// Spreads transactions in as few messages as fit the limit of gossip; what is longer goes straight to every peer.
    fn spread(&self, raw: &[Arc<[u8]>]) {
        const ROOM: usize = GOSSIP_MAX - 1024;
        let mut batch: Vec<Vec<u8>> = Vec::new();
        let mut used = 0;
        for one in raw {
            if one.len() > ROOM {
                self.send_all(DIRECT_TRANSACTIONS, &codec::encode(&vec![one.to_vec()]));
                continue;
            }
            if used + one.len() + 8 > ROOM {
                self.gossip(Topic::Transactions, codec::encode(&std::mem::take(&mut batch)));
                used = 0;
            }
            used += one.len() + 8;
            batch.push(one.to_vec());
        }
        if !batch.is_empty() {
            self.gossip(Topic::Transactions, codec::encode(&batch));
        }
    }

    fn judge(&mut self, id: u64, verdict: Verdict) {
        let Some(id) = self.gossip.remove(&id) else { return };
        self.parts.net.verdict(
            id,
            match verdict {
                Verdict::Accept => net::Verdict::Accept,
                Verdict::Ignore => net::Verdict::Ignore,
                Verdict::Reject => net::Verdict::Reject,
            },
        );
    }

    fn send(&self, to: NodeId, kind: u8, bytes: &[u8]) {
        if let Err(why) = self.parts.net.send(to, [&[kind], bytes].concat()) {
            debug!(peer = %format_args!("{to:#}"), %why, "a message was not sent");
        }
    }

    fn send_all(&self, kind: u8, bytes: &[u8]) {
        for peer in self.parts.net.peers() {
            self.send(peer.id, kind, bytes);
        }
    }

    fn ask(&self, ticket: u64, to: NodeId, bytes: Vec<u8>) {
        let (net, chain) = (self.parts.net.clone(), self.chain.clone());
        self.parts.runtime.spawn(async move {
            let bytes = match net.request(to, bytes).await {
                Ok(bytes) => Some(bytes),
                Err(why) => {
                    debug!(peer = %format_args!("{to:#}"), %why, "a question stayed unanswered");
                    None
                }
            };
            // The chain may have stopped meanwhile, and then needs no answer.
            let _ = chain
                .tell(Command::Heard(Input::Answered {
                    ticket,
                    from: to,
                    bytes,
                }))
                .await;
        });
    }

    fn answer(&mut self, ticket: u64, bytes: Vec<u8>) {
        if let Some(id) = self.questions.remove(&ticket) {
            self.parts.net.respond(id, bytes);
        }
    }

    /// Reads final blocks for a peer, beside the thread: it may be a lot of disk.
    fn answer_blocks(&mut self, ticket: u64, from: Height, count: u32) {
        let Some(id) = self.questions.remove(&ticket) else {
            return;
        };
        let (net, log) = (self.parts.net.clone(), self.parts.log.clone());
        self.parts.runtime.spawn_blocking(move || {
            let mut entries = Vec::new();
            let mut left = ANSWER_BUDGET;
            for found in log.iter_from(from).take(count as usize) {
                match found {
                    Ok((_, entry)) if entry.len() <= left || entries.is_empty() => {
                        left = left.saturating_sub(entry.len());
                        entries.push(entry);
                    }
                    Ok(_) => break,
                    Err(why) => {
                        error!(error = %chained(&why), "a block for a peer could not be read");
                        break;
                    }
                }
            }
            net.respond(id, codec::encode(&ChainReply::Blocks(entries)));
        });
    }

    fn blame(&self, peer: NodeId, fault: Fault) {
        self.chain.counters.blamed.fetch_add(1, Ordering::Relaxed);
        warn!(peer = %format_args!("{peer:#}"), %fault, "a peer broke a rule");
        let offence = match fault {
            Fault::Unreadable => Offence::Malformed,
            Fault::Unsigned | Fault::BodyMismatch | Fault::NotFinal => Offence::Invalid,
        };
        self.parts.net.report(peer, offence);
    }

    /// The block is durable: readers may see it.
    #[tracing::instrument(name = "chain.block.show", level = "debug", skip_all)]
    fn show(&mut self, committed: &Committed) -> Result<(), ChainError> {
        let counters = &self.chain.counters;
        counters.blocks.fetch_add(1, Ordering::Relaxed);
        counters
            .transactions
            .fetch_add(committed.transactions as u64, Ordering::Relaxed);
        let (height, hash) = (committed.tip.height, committed.tip.hash);
        self.heads.send_replace(Head {
            height,
            hash,
            view: self.view.clone(),
        });
        self.unflushed += 1;
        if self.unflushed >= self.parts.flush_every {
            self.parts.node.exec.flush()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    fn tell(&self, event: Event) {
        let counters = &self.chain.counters;
        match &event {
            Event::Committed { round, took, .. } => {
                counters.extra_rounds.fetch_add(u64::from(*round), Ordering::Relaxed);
                if let Some(took) = took {
                    counters.heights.add(*took);
                }
            }
            Event::Refused { .. } => _ = counters.refused.fetch_add(1, Ordering::Relaxed),
            Event::Equivocated { .. } => _ = counters.equivocations.fetch_add(1, Ordering::Relaxed),
            // The machine tells what happens to the chain; of that, these are counted.
            _ => (),
        }
        self.parts.events.tell(event);
    }
}
