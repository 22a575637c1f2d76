//! The thread that owns the chain: it gives [`consensus::node::Node`] what happens and does what it says.
//!
//! One thread, because one height comes after the other: executing, syncing and voting are steps of one path, and nothing
//! is gained by handing them around. Whoever wants something sends a [`Command`]; whoever reads looks at the last
//! [`Head`], which is durable when it is shown.

mod counters;
mod shell;

use std::sync::Arc;

use consensus::{
    mempool::{PoolError, Pooled},
    node::{Effect, Input, Node, Signing},
};
use net::{GossipId, NetHandle, RequestId};
use protocol::{BlockHash, Height, NodeId, TxHash};
use storage::{BlockLog, JournalError, Wal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::state::{LoggedBlocks, StateTable};
use base::{clock::Clock, events::Events};
pub use counters::{Counters, Recent};
use shell::Shell;

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

/// A question put to the machine itself.
pub type Look = Box<dyn FnOnce(&Node<Ledger>) + Send>;

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
    Look(Look),
    /// A block of our own log does not read back; the reason says where and what to do.
    Damaged(String),
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

/// A hold on the running chain.
#[derive(Clone)]
pub struct Chain {
    inbox: mpsc::Sender<Command>,
    /// The last block shown.
    pub head: watch::Receiver<Head>,
    /// How much of it.
    pub counters: Arc<Counters>,
    /// The blocks, with what made them final.
    pub log: LoggedBlocks,
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

/// Starts the thread. It ends on [`Command::Stop`], or early with an error.
pub fn spawn(parts: Parts) -> std::io::Result<(Chain, std::thread::JoinHandle<Result<(), ChainError>>)> {
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
        counters: Arc::default(),
        log: LoggedBlocks(parts.log.clone()),
    };
    let shell = Shell::new(parts, chain.clone(), heads, view, inbox);
    let thread = std::thread::Builder::new()
        .name("chain".into())
        .spawn(move || shell.run())?;
    Ok((chain, thread))
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
