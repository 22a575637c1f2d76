//! The words between the machine and its shell: what happens, and what should be done.

use std::sync::Arc;

use protocol::{Height, NodeId, crypto::Domain, event::Event};

use crate::{engine::Timeouts, execution::Committed, mempool::Limits};

/// What a node is told once.
#[derive(Clone, Debug)]
pub struct Params {
    /// The chain it is on.
    pub domain: Domain,
    /// How long it waits for others.
    pub timeouts: Timeouts,
    /// An empty block at least this often.
    pub heartbeat_ms: u64,
    /// No two blocks closer than this.
    pub interval_min_ms: u64,
    /// Most transaction bytes in a block that this node builds.
    pub block_bytes_max: usize,
    /// Gas in a block.
    pub block_gas: u64,
    /// What the mempool holds.
    pub pool: Limits,
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A peer is there.
    Connected(NodeId),
    /// A peer is gone.
    Disconnected(NodeId),
    /// Something gossiped about the height being decided. `id` is what its verdict is given under.
    Gossip {
        /// The transport's name for the message.
        id: u64,
        /// Who passed it on.
        from: NodeId,
        /// An encoded [`Gossip`](protocol::message::chain::Gossip).
        bytes: Vec<u8>,
    },
    /// An encoded [`Direct`](protocol::message::chain::Direct) message.
    Direct {
        /// Who sent it.
        from: NodeId,
        /// What.
        bytes: Vec<u8>,
    },
    /// A peer asks for something; it is answered under `ticket`.
    Asked {
        /// The transport's name for the question.
        ticket: u64,
        /// Who asks.
        from: NodeId,
        /// An encoded [`ChainRequest`](protocol::message::chain::ChainRequest).
        bytes: Vec<u8>,
    },
    /// The answer to our own question `ticket`; `None` if none came.
    Answered {
        /// Our name for the question.
        ticket: u64,
        /// Who answers.
        from: NodeId,
        /// An encoded answer.
        bytes: Option<Vec<u8>>,
    },
}

/// What to tell the transport about a gossiped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good: pass it on.
    Accept,
    /// Old or not for us: drop it, nobody is to blame.
    Ignore,
    /// Wrong: drop it and remember who sent it.
    Reject,
}

/// What a peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It sent bytes that are no message.
    #[error("a message that cannot be read")]
    Unreadable,
    /// It passed on a consensus message that its author did not sign.
    #[error("a consensus message that its author did not sign")]
    Unsigned,
    /// It sent a block with a certificate that is not the one its header names.
    #[error("a block body that does not belong together")]
    BodyMismatch,
    /// It called a block final that is not, or does not follow.
    #[error("a final block that is not")]
    NotFinal,
}

/// What should be done, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Append a record to the consensus journal.
    Journal(Vec<u8>),
    /// Make the journal durable.
    JournalSync,
    /// Begin the journal of this height; earlier ones are no longer needed.
    JournalStart(Height),
    /// Append a final block to the block log.
    Log {
        /// Its height.
        height: Height,
        /// An encoded [`Entry`](protocol::message::chain::Entry).
        entry: Vec<u8>,
    },
    /// Make the block log durable.
    LogSync,
    /// Say it to everyone, an encoded [`Gossip`](protocol::message::chain::Gossip).
    Gossip(Vec<u8>),
    /// Spread transactions that came in here.
    Spread(Vec<Arc<[u8]>>),
    /// Judge a gossiped message.
    Verdict(u64, Verdict),
    /// Send an encoded [`Direct`](protocol::message::chain::Direct) message to one peer.
    Send(NodeId, Vec<u8>),
    /// Send it to every peer.
    SendAll(Vec<u8>),
    /// Put an encoded [`ChainRequest`](protocol::message::chain::ChainRequest) to a peer; come back with [`Input::Answered`].
    Ask {
        /// Our name for the question.
        ticket: u64,
        /// Whom.
        to: NodeId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Answer a peer with these bytes.
    Answer(u64, Vec<u8>),
    /// Answer a peer with entries of the block log, as many as fit an answer.
    AnswerBlocks {
        /// The transport's name for the question.
        ticket: u64,
        /// The first height.
        from: Height,
        /// At most this many.
        count: u32,
    },
    /// A peer broke a rule.
    Blame(NodeId, Fault),
    /// A block is final and, since this comes after its log entry, durable: show it.
    Committed(Box<Committed>),
    /// Something worth telling happened.
    Happened(Event),
}

/// Whether this node signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// It votes whenever it is in the set.
    On,
    /// It does not know what it said up to this height, so it says nothing until that is behind it.
    After(Height),
    /// It has no validator key.
    Keyless,
    /// Something is wrong; it follows, and says why it does not vote.
    Stopped(String),
}
