//! The thread that owns the chain: it feeds [`consensus::node::Node`] and performs its effects.
//!
//! One thread, because heights follow one another: executing, syncing and voting are steps of one path, and passing
//! them between threads would gain nothing. Other tasks send a [`Command`]; readers use the last [`Head`], which is
//! durable when it is published.

mod counters;
mod shell;

use std::sync::Arc;

use consensus::{
    mempool::{PoolError, PooledTransaction},
    node::{Effect, Input, Node, Signing},
};
use net::{GossipId, NetHandle, RequestId};
use protocol::{BlockHash, Height, NodeId, TxHash};
use storage::{BlockLog, JournalError, Wal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::state::{LoggedBlocks, StateTable};
use base::{clock::Clock, events::Events};
pub use counters::{Counters, RecentDurations};
use shell::Shell;

/// The executor of a node, on a sled table.
pub type Ledger = evm::ledger::Ledger<StateTable>;
/// Reads of a node's chain from any thread.
pub type View = evm::view::View<StateTable>;

/// First byte of a direct message that carries a [`Direct`](protocol::message::chain::Direct).
pub(crate) const DIRECT_CHAIN: u8 = 0;
/// First byte of a direct message with transactions that are too long for gossip.
pub(crate) const DIRECT_TRANSACTIONS: u8 = 1;
/// First byte of a direct message with consensus gossip that was sent before: gossip drops repeated bytes for a
/// while.
pub(crate) const DIRECT_GOSSIP: u8 = 2;

/// Commands in the queue. A sender waits while it is full.
const INBOX: usize = 4096;

/// A function that reads the consensus machine on its thread.
pub type Query = Box<dyn FnOnce(&Node<Ledger>) + Send>;

/// A command to the chain thread, sent with [`Chain::send`].
pub enum Command {
    /// An input for the consensus machine.
    Input(Input),
    /// A gossiped consensus message.
    Gossip(GossipId, NodeId, Vec<u8>),
    /// A request of a peer.
    Request(RequestId, NodeId, Vec<u8>),
    /// Transactions whose senders are recovered.
    Submit {
        transactions: Vec<PooledTransaction>,
        /// If true, accepted transactions are gossiped.
        gossip: bool,
        /// Receives a result for each transaction, in order.
        reply: oneshot::Sender<Vec<Result<TxHash, PoolError>>>,
    },
    /// Runs a function on the consensus machine, for values that a [`Head`] does not have.
    Query(Query),
    /// A block of this node's log cannot be read. The text says where and what to do; the node stops signing.
    LogDamaged(String),
    /// Flushes the state and ends the thread.
    Stop,
}

/// The last final and durable block, with reads of the chain up to it.
#[derive(Clone)]
pub struct Head {
    pub height: Height,
    pub hash: BlockHash,
    /// Reads of the state after this block and of the chain below it.
    pub view: View,
}

/// A handle to the chain thread. Clones share the same thread.
#[derive(Clone)]
pub struct Chain {
    inbox: mpsc::Sender<Command>,
    /// The last published head.
    pub head: watch::Receiver<Head>,
    pub counters: Arc<Counters>,
    /// The block log, with the certificates of the blocks.
    pub log: LoggedBlocks,
}

/// The chain thread has ended. The reason was logged when it did.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the chain has stopped on this node; see its log for the reason")]
pub struct Stopped;

impl Chain {
    /// Sends a command; waits while the queue is full.
    pub async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.inbox.send(command).await.map_err(|_| Stopped)
    }

    /// Submits transactions to the mempool and returns a result for each, in order.
    pub async fn submit(
        &self,
        transactions: Vec<PooledTransaction>,
        gossip: bool,
    ) -> Result<Vec<Result<TxHash, PoolError>>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Submit {
            transactions,
            gossip,
            reply,
        })
        .await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Returns when the chain thread has ended, for any reason.
    pub async fn ended(&self) {
        self.inbox.closed().await;
    }

    /// Runs `question` on the consensus machine and returns its result. It delays voting for as long as it runs.
    pub async fn query<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Node<Ledger>) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let query = move |node: &Node<Ledger>| drop(reply.send(question(node)));
        self.send(Command::Query(Box::new(query))).await?;
        answer.await.map_err(|_| Stopped)
    }
}

/// The parts that the chain thread owns. [`crate::open::open`] prepares most of them.
pub struct Parts {
    pub node: Node<Ledger>,
    pub first: Vec<Effect>,
    pub wal: Wal,
    pub log: Arc<BlockLog>,
    pub net: NetHandle,
    pub clock: Clock,
    pub events: Events,
    pub flush_every: u64,
    pub runtime: tokio::runtime::Handle,
}

/// Reason that the chain thread ended by itself. All of them are failures of this node's disk or state.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The journal could not be written. The node stops, because it must not forget what it signed.
    #[error("the node stops: its disk did not take what must be durable")]
    Disk(#[from] JournalError),
    #[error("the node stops: its disk did not take a block")]
    Log(#[from] storage::block_log::AppendError),
    #[error("the node stops: its state cannot be read or written")]
    Execution(#[from] consensus::execution::ExecutionError),
}

/// Starts the chain thread. It ends on [`Command::Stop`], or earlier with an error.
pub fn spawn(parts: Parts) -> std::io::Result<(Chain, std::thread::JoinHandle<Result<(), ChainError>>)> {
    let tip = parts.node.tip();
    let view = parts.node.exec.view(Arc::new(LoggedBlocks(parts.log.clone())));
    let head = Head {
        height: tip.height,
        hash: tip.hash,
        view: view.clone(),
    };
    // A watch keeps the latest head only: a slow reader skips heads and never delays the chain.
    let (heads, head) = watch::channel(head);
    let (sender, inbox) = mpsc::channel(INBOX);
    let chain = Chain {
        inbox: sender,
        head,
        counters: Arc::default(),
        log: LoggedBlocks(parts.log.clone()),
    };
    let shell = Shell::new(parts, chain.clone(), heads, view, inbox);
    let thread = std::thread::Builder::new()
        .name("chain".into())
        .spawn(move || shell.run())?;
    Ok((chain, thread))
}

/// The text for [`Signing`] in the output of `status`.
pub fn signing_text(signing: &Signing) -> String {
    match signing {
        Signing::On => "on".to_owned(),
        Signing::After(height) => format!("paused until block {height} is final"),
        Signing::Keyless => "off: this node has no validator key".to_owned(),
        Signing::Stopped(why) => format!("stopped: {why}"),
    }
}
