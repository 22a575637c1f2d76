//! The loop of the chain thread: waits for a command or a deadline, steps the machine, and performs its effects in
//! order.

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
use base::errors::chained;

/// Size of a reply with blocks, well below the limit of a reply.
const REPLY_BYTES: usize = REPLY_MAX / 4;

/// Digests of consensus messages that were sent recently.
#[derive(Default)]
struct RecentlySent(VecDeque<blake3::Hash>);

impl RecentlySent {
    const MAX: usize = 512;

    /// Returns true if these bytes were sent recently; remembers them otherwise.
    fn contains_or_insert(&mut self, bytes: &[u8]) -> bool {
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
    recently_sent: RecentlySent,
    /// Gossip ids and request ids of the network, under the numbers that the machine knows them by.
    gossip: BTreeMap<u64, GossipId>,
    requests: BTreeMap<u64, RequestId>,
    last_id: u64,
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
            recently_sent: RecentlySent::default(),
            gossip: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_id: 0,
            unflushed: 0,
        }
    }

    pub(super) fn run(mut self) -> Result<(), ChainError> {
        // A runtime of its own, only to wait for a command or a deadline.
        let waiting = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without IO needs nothing that could be missing");
        let first = std::mem::take(&mut self.parts.first);
        let done = self.perform(first).and_then(|()| waiting.block_on(self.serve()));
        if let Err(why) = &done {
            error!(error = %chained(why), "the chain stopped");
        }
        // Blocks whose state is not flushed are executed again from the log, so a failure here only costs time.
        if let Err(why) = self.parts.node.exec.flush() {
            warn!(error = %chained(&why), "could not flush the state");
        }
        done
    }

    async fn serve(&mut self) -> Result<(), ChainError> {
        loop {
            let wait = self.parts.clock.until(self.parts.node.deadline());
            let command = tokio::select! {
                // Commands before the timer: a vote that has arrived may make the timeout unnecessary.
                biased;
                command = self.inbox.recv() => command,
                () = tokio::time::sleep(wait) => Some(Command::Input(Input::Tick)),
            };
            let Some(command) = command else { return Ok(()) };
            let mut todo = Vec::new();
            let now = self.parts.clock.now();
            match command {
                Command::Input(input) => self.parts.node.step(now, input, &mut todo)?,
                Command::Gossip(id, from, bytes) => {
                    let number = self.next_id();
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
                    let request_id = self.next_id();
                    self.requests.insert(request_id, id);
                    self.parts.node.step(
                        now,
                        Input::Request {
                            request_id,
                            from,
                            bytes,
                        },
                        &mut todo,
                    )?;
                    // The machine answers every valid request at once; what stays are ids of malformed ones.
                    if self.requests.len() > INBOX {
                        self.requests.pop_first();
                    }
                }
                Command::Submit {
                    transactions,
                    gossip,
                    reply,
                } => {
                    let results = self.parts.node.submit(transactions, gossip, &mut todo)?;
                    // The sender of the command may be gone. The transactions are in the mempool all the same.
                    drop(reply.send(results));
                }
                Command::Query(query) => query(&self.parts.node),
                Command::LogDamaged(why) => self.parts.node.stop_signing(why, &mut todo),
                Command::Stop => return Ok(()),
            }
            self.perform(todo)?;
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Performs effects in order: what must be durable is durable before the next effect.
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
                Effect::Gossip(bytes) => self.publish(bytes),
                Effect::GossipTransactions(raw) => self.gossip_transactions(&raw),
                Effect::Verdict(id, verdict) => self.give_verdict(id, verdict),
                Effect::Send(to, bytes) => self.send(to, DIRECT_CHAIN, &bytes),
                Effect::SendAll(bytes) => self.send_all(DIRECT_CHAIN, &bytes),
                Effect::Request { request_id, to, bytes } => self.request(request_id, to, bytes),
                Effect::Reply(request_id, bytes) => self.reply(request_id, bytes),
                Effect::ReplyBlocks {
                    request_id,
                    from,
                    count,
                } => self.reply_blocks(request_id, from, count),
                Effect::Blame(peer, fault) => self.blame(peer, fault),
                Effect::Committed(committed) => self.publish_head(&committed)?,
                Effect::Event(event) => self.record_event(event),
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

    /// Gossips a consensus message. The machine repeats messages when nothing moves, and gossip would drop repeated
    /// bytes, so repetitions are sent directly.
    fn publish(&mut self, bytes: Vec<u8>) {
        if self.recently_sent.contains_or_insert(&bytes) {
            self.send_all(DIRECT_GOSSIP, &bytes);
        } else {
            self.gossip(Topic::Votes, bytes);
        }
    }

    fn gossip(&self, topic: Topic, bytes: Vec<u8>) {
        if let Err(why) = self.parts.net.gossip(topic, bytes) {
            debug!(%why, "could not send gossip");
        }
    }

    /// Gossips transactions in as few messages as possible. One that is too long for gossip is sent to every peer
    /// directly.
    fn gossip_transactions(&self, raw: &[Arc<[u8]>]) {
        const BYTES_MAX: usize = GOSSIP_MAX - 1024;
        let mut batch: Vec<Vec<u8>> = Vec::new();
        let mut used = 0;
        for transaction in raw {
            if transaction.len() > BYTES_MAX {
                self.send_all(DIRECT_TRANSACTIONS, &codec::encode(&vec![transaction.to_vec()]));
                continue;
            }
            if used + transaction.len() + 8 > BYTES_MAX {
                self.gossip(Topic::Transactions, codec::encode(&std::mem::take(&mut batch)));
                used = 0;
            }
            used += transaction.len() + 8;
            batch.push(transaction.to_vec());
        }
        if !batch.is_empty() {
            self.gossip(Topic::Transactions, codec::encode(&batch));
        }
    }

    fn give_verdict(&mut self, id: u64, verdict: Verdict) {
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
            debug!(peer = %format_args!("{to:#}"), %why, "could not send a message");
        }
    }

    fn send_all(&self, kind: u8, bytes: &[u8]) {
        for peer in self.parts.net.peers() {
            self.send(peer.id, kind, bytes);
        }
    }

    fn request(&self, request_id: u64, to: NodeId, bytes: Vec<u8>) {
        let (net, chain) = (self.parts.net.clone(), self.chain.clone());
        self.parts.runtime.spawn(async move {
            let bytes = match net.request(to, bytes).await {
                Ok(bytes) => Some(bytes),
                Err(why) => {
                    debug!(peer = %format_args!("{to:#}"), %why, "a request failed");
                    None
                }
            };
            // The chain may have stopped meanwhile and then needs no reply.
            let _ = chain
                .send(Command::Input(Input::Reply {
                    request_id,
                    from: to,
                    bytes,
                }))
                .await;
        });
    }

    fn reply(&mut self, request_id: u64, bytes: Vec<u8>) {
        if let Some(id) = self.requests.remove(&request_id) {
            self.parts.net.respond(id, bytes);
        }
    }

    /// Reads final blocks for a peer on another thread, because it may be a lot of disk I/O.
    fn reply_blocks(&mut self, request_id: u64, from: Height, count: u32) {
        let Some(id) = self.requests.remove(&request_id) else {
            return;
        };
        let (net, log) = (self.parts.net.clone(), self.parts.log.clone());
        self.parts.runtime.spawn_blocking(move || {
            let mut entries = Vec::new();
            let mut left = REPLY_BYTES;
            for found in log.iter_from(from).take(count as usize) {
                match found {
                    Ok((_, entry)) if entry.len() <= left || entries.is_empty() => {
                        left = left.saturating_sub(entry.len());
                        entries.push(entry);
                    }
                    Ok(_) => break,
                    Err(why) => {
                        error!(error = %chained(&why), "could not read a block for a peer");
                        break;
                    }
                }
            }
            net.respond(id, codec::encode(&ChainReply::Blocks(entries)));
        });
    }

    fn blame(&self, peer: NodeId, fault: Fault) {
        self.chain.counters.faults.fetch_add(1, Ordering::Relaxed);
        warn!(peer = %format_args!("{peer:#}"), %fault, "a peer broke a rule");
        let offence = match fault {
            Fault::Unreadable => Offence::Malformed,
            Fault::Unsigned | Fault::BodyMismatch | Fault::NotFinal => Offence::Invalid,
        };
        self.parts.net.report(peer, offence);
    }

    /// Publishes a durable block to readers.
    #[tracing::instrument(name = "chain.block.show", level = "debug", skip_all)]
    fn publish_head(&mut self, committed: &Committed) -> Result<(), ChainError> {
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

    fn record_event(&self, event: Event) {
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
            // Only these events are counted.
            _ => (),
        }
        self.parts.events.tell(event);
    }
}
