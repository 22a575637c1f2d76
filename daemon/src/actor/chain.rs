//! The thread that owns the chain: it gives [`consensus::node::Node`] what happens and does what it says.
//!
//! One thread, because one height comes after the other: executing, syncing and voting are steps of one path, and nothing
//! is gained by handing them around. Whoever wants something sends a [`Command`]; whoever reads looks at the last
//! [`Head`], which is durable when it is shown.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use consensus::{
    execution::Committed,
    mempool::{PoolError, Pooled},
    node::{Effect, Fault, Input, Node, Signing, Verdict},
};
use net::{GossipId, NetHandle, Offence, RequestId, Topic};
use protocol::{
    BlockHash, Height, NodeId, TxHash, codec,
    event::Event,
    message::chain::{ANSWER_MAX, Answer, GOSSIP_MAX},
};
use storage::{BlockLog, JournalError, Wal};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use crate::{
    clock::Clock,
    state::{LoggedBlocks, StateTable},
    words::chained,
};

/// The executor that runs in a daemon.
pub type Ledger = evm::ledger::Ledger<StateTable>;
/// What readers see of it.
pub type View = evm::view::View<StateTable>;

/// First byte of a direct message: what it carries.
pub(crate) const DIRECT_CHAIN: u8 = 0;
/// Transactions too long for gossip.
pub(crate) const DIRECT_TRANSACTIONS: u8 = 1;
/// Consensus messages that were gossiped before: gossip does not carry the same bytes again so soon.
pub(crate) const DIRECT_GOSSIP: u8 = 2;

/// Commands that may wait; whoever sends more waits with them.
const INBOX: usize = 4096;
/// Answered log entries stop short of the limit of an answer.
const ANSWER_BUDGET: usize = ANSWER_MAX / 4;

/// What the chain is told.
pub enum Command {
    /// Something happened that the machine wants to know.
    Heard(Input),
    /// A gossiped message about consensus.
    Gossip(GossipId, NodeId, Vec<u8>),
    /// A peer asks.
    Request(RequestId, NodeId, Vec<u8>),
    /// Transactions whose senders are known.
    Submit {
        /// They.
        transactions: Vec<Pooled>,
        /// Whether to spread them.
        ours: bool,
        /// What became of each.
        reply: oneshot::Sender<Vec<Result<TxHash, PoolError>>>,
    },
    /// A look at the machine itself, for questions that a [`Head`] does not answer.
    Look(Box<dyn FnOnce(&Node<Ledger>) + Send>),
    /// Flush and end.
    Stop,
}

/// The last final, durable block and everything that can be read at it.
#[derive(Clone)]
pub struct Head {
    /// Its height.
    pub height: Height,
    /// Its name.
    pub hash: BlockHash,
    /// The state after it, and the chain below.
    pub view: View,
}

/// Numbers about the chain that metrics and status show.
#[derive(Debug, Default)]
pub struct Counters {
    /// Blocks committed since the start.
    pub blocks: AtomicU64,
    /// Transactions in them.
    pub transactions: AtomicU64,
    /// Rounds beyond the first that were needed.
    pub extra_rounds: AtomicU64,
    /// Blocks refused.
    pub refused: AtomicU64,
    /// Proofs of equivocation found.
    pub equivocations: AtomicU64,
    /// Peers blamed.
    pub blamed: AtomicU64,
    /// Microseconds spent syncing the journal and the log.
    pub sync_us: AtomicU64,
    /// How long the last heights took, from beginning to final.
    pub heights: Recent,
}

/// The last so many durations of something.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Duration>>);

impl Recent {
    const MAX: usize = 1024;

    fn add(&self, took: Duration) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == Self::MAX {
            recent.pop_front();
        }
        recent.push_back(took);
    }

    /// The durations that these shares of a thousand do not exceed; nothing if there are none yet.
    pub fn quantiles<const N: usize>(&self, per_mille: [usize; N]) -> Option<[Duration; N]> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = recent.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        Some(per_mille.map(|share| sorted[(last * share).div_ceil(1000)]))
    }
}

/// A hold on the running chain.
#[derive(Clone)]
pub struct Chain {
    inbox: mpsc::Sender<Command>,
    /// The last block shown.
    pub head: watch::Receiver<Head>,
    /// What happens, as it happens.
    pub events: broadcast::Sender<Event>,
    /// How much of it.
    pub counters: Arc<Counters>,
}

/// The chain has stopped; the reason was logged where it happened.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the chain has stopped on this node; see its log for the reason")]
pub struct Stopped;

impl Chain {
    /// Tells it something.
    pub async fn tell(&self, command: Command) -> Result<(), Stopped> {
        self.inbox.send(command).await.map_err(|_| Stopped)
    }

    /// Offers transactions and hears what became of each.
    pub async fn submit(
        &self,
        transactions: Vec<Pooled>,
        ours: bool,
    ) -> Result<Vec<Result<TxHash, PoolError>>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Submit {
            transactions,
            ours,
            reply,
        })
        .await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Returns when the chain's thread has ended.
    pub async fn ended(&self) {
        self.inbox.closed().await;
    }

    /// Asks the machine something.
    pub async fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Node<Ledger>) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let look = move |node: &Node<Ledger>| drop(reply.send(question(node)));
        self.tell(Command::Look(Box::new(look))).await?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Everything the thread owns.
pub(crate) struct Parts {
    pub(crate) node: Node<Ledger>,
    pub(crate) first: Vec<Effect>,
    pub(crate) wal: Wal,
    pub(crate) log: Arc<BlockLog>,
    pub(crate) net: NetHandle,
    pub(crate) clock: Clock,
    pub(crate) flush_every: u64,
    pub(crate) runtime: tokio::runtime::Handle,
}

/// Why the thread ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The disk did not take what must be durable. The node stops rather than forget.
    #[error("the node stops: its disk did not take what must be durable")]
    Disk(#[from] JournalError),
    /// The block log did not take a block.
    #[error("the node stops: its disk did not take a block")]
    Log(#[from] storage::block_log::AppendError),
    /// State cannot be read or written.
    #[error("the node stops: its state cannot be read or written")]
    Execution(#[from] consensus::execution::ExecutionError),
}

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

struct Shell {
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

/// Starts the thread. It ends on [`Command::Stop`], or early with an error.
pub(crate) fn spawn(parts: Parts) -> std::io::Result<(Chain, std::thread::JoinHandle<Result<(), ChainError>>)> {
    let tip = parts.node.tip();
    let view = parts.node.exec.view(Arc::new(LoggedBlocks(parts.log.clone())));
    let head = Head {
        height: tip.height,
        hash: tip.hash,
        view: view.clone(),
    };
    let (heads, head) = watch::channel(head);
    let (sender, inbox) = mpsc::channel(INBOX);
    let chain = Chain {
        inbox: sender,
        head,
        events: broadcast::channel(1024).0,
        counters: Arc::default(),
    };
    let shell = Shell {
        parts,
        chain: chain.clone(),
        heads,
        view,
        inbox,
        said: Said::default(),
        gossip: BTreeMap::new(),
        questions: BTreeMap::new(),
        numbers: 0,
        unflushed: 0,
    };
    let thread = std::thread::Builder::new()
        .name("chain".into())
        .spawn(move || shell.run())?;
    Ok((chain, thread))
}

impl Shell {
    fn run(mut self) -> Result<(), ChainError> {
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
            let _ = chain.tell(Command::Heard(Input::Answered { ticket, from: to, bytes })).await;
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
            net.respond(id, codec::encode(&Answer::Blocks(entries)));
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
            Event::Committed {
                height,
                block,
                transactions,
                round,
                took,
            } => {
                counters.extra_rounds.fetch_add(u64::from(*round), Ordering::Relaxed);
                if let Some(took) = took {
                    counters.heights.add(*took);
                }
                debug!(%height, block = %format_args!("{block:#}"), transactions, round, ?took, "committed");
            }
            Event::Refused { height, why } => {
                counters.refused.fetch_add(1, Ordering::Relaxed);
                warn!(%height, why, "refused a block");
            }
            Event::Equivocated { validator, height } => {
                counters.equivocations.fetch_add(1, Ordering::Relaxed);
                warn!(validator = %format_args!("{validator:#}"), %height, "a validator contradicted itself");
            }
            Event::EpochStarted {
                height,
                validators,
                voting,
            } => {
                info!(%height, validators, voting, "an epoch began");
            }
            Event::CaughtUp { height, from } => {
                info!(%height, from = %format_args!("{from:#}"), "caught up");
            }
            Event::StoppedSigning { why } => error!(why, "this node does not sign"),
        }
        // Nobody may be listening.
        drop(self.chain.events.send(event));
    }
}

/// What `status` says about voting.
pub fn signing_text(signing: &Signing) -> String {
    match signing {
        Signing::On => "on".to_owned(),
        Signing::After(height) => format!("paused until block {height} is final"),
        Signing::Keyless => "off: this node has no validator key".to_owned(),
        Signing::Stopped(why) => format!("stopped: {why}"),
    }
}
