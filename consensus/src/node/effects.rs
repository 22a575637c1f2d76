//! The inputs and effects of a [`Node`](super::Node): the events that its caller reports, and the actions that its caller performs.

use std::sync::Arc;

use protocol::{Height, NodeId, crypto::Domain, event::Event};

use crate::{bft::Timeouts, execution::Committed, mempool::Limits};

/// Settings of a node, fixed when it starts. The domain must be the same on all nodes of a chain; the rest is
/// local.
#[derive(Clone, Debug)]
pub struct Params {
    /// Chain id and genesis hash, which every signature covers.
    pub domain: Domain,
    /// Timeouts of the consensus rounds.
    pub timeouts: Timeouts,
    /// Longest time without a block: an empty one is proposed after it.
    pub heartbeat_ms: u64,
    /// Shortest time between two blocks.
    pub interval_min_ms: u64,
    /// Most transaction bytes in a block that this node builds.
    pub block_bytes_max: usize,
    /// Most gas of a block that this node builds.
    pub block_gas: u64,
    pub pool: Limits,
}

/// Something that happened to a node: the argument of [`Node::step`](super::Node::step).
#[derive(Clone, Debug)]
pub enum Input {
    /// A deadline has passed; see [`Node::deadline`](super::Node::deadline).
    Tick,
    Connected(NodeId),
    Disconnected(NodeId),
    /// A gossiped message.
    Gossip {
        /// The transport's id of the message, returned in [`Effect::Verdict`].
        id: u64,
        /// The peer that passed the message on, not its author.
        from: NodeId,
        /// An encoded [`Gossip`](protocol::message::chain::Gossip).
        bytes: Vec<u8>,
    },
    /// An encoded [`Direct`](protocol::message::chain::Direct) message.
    Direct {
        from: NodeId,
        bytes: Vec<u8>,
    },
    /// A request of a peer, to be answered with [`Effect::Reply`] or [`Effect::ReplyBlocks`].
    Request {
        /// The transport's id of the request.
        request_id: u64,
        from: NodeId,
        /// An encoded [`ChainRequest`](protocol::message::chain::ChainRequest).
        bytes: Vec<u8>,
    },
    /// The reply to a request of this node.
    Reply {
        /// The id from [`Effect::Request`].
        request_id: u64,
        from: NodeId,
        /// An encoded [`ChainReply`](protocol::message::chain::ChainReply); `None` if the request failed or timed out.
        bytes: Option<Vec<u8>>,
    },
}

/// The result of validating a gossiped message, for the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid: pass it on.
    Accept,
    /// Old, or not for this node: do not pass it on, and do not penalise the sender.
    Ignore,
    /// Invalid: do not pass it on, and penalise the sender.
    Reject,
}

/// A rule that a peer broke, with enough detail to choose a penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("a message that does not decode")]
    Unreadable,
    /// The peer passed on a consensus message whose signature is not its author's.
    #[error("a consensus message that its author did not sign")]
    Unsigned,
    /// The peer sent a block with another parent certificate than its header names.
    #[error("a block body whose certificate is not the one in its header")]
    BodyMismatch,
    /// The peer sent a block as final that is not, or that does not follow its predecessor.
    #[error("a block sent as final that is not")]
    NotFinal,
}

/// An action for the caller, to be performed in the order of the list.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Append a record to the consensus journal.
    Journal(Vec<u8>),
    /// Make the journal durable.
    JournalSync,
    /// Start the journal of this height. Records of earlier heights may be deleted.
    JournalStart(Height),
    /// Append a final block to the block log.
    Log {
        height: Height,
        /// An encoded [`Entry`](protocol::message::chain::Entry).
        entry: Vec<u8>,
    },
    /// Make the block log durable.
    LogSync,
    /// Gossip an encoded [`Gossip`](protocol::message::chain::Gossip).
    Gossip(Vec<u8>),
    /// Gossip transactions that users gave to this node, in EIP-2718 encoding.
    GossipTransactions(Vec<Arc<[u8]>>),
    /// Give the transport its verdict about the gossiped message with this id.
    Verdict(u64, Verdict),
    /// Send an encoded [`Direct`](protocol::message::chain::Direct) message to one peer.
    Send(NodeId, Vec<u8>),
    /// Send an encoded [`Direct`](protocol::message::chain::Direct) message to every peer.
    SendAll(Vec<u8>),
    /// Send a request to a peer, and pass the reply to the node as [`Input::Reply`].
    Request {
        /// This node's id of the request.
        request_id: u64,
        to: NodeId,
        /// An encoded [`ChainRequest`](protocol::message::chain::ChainRequest).
        bytes: Vec<u8>,
    },
    /// Answer the request with this id.
    Reply(u64, Vec<u8>),
    /// Answer a request with entries of the block log, as many as fit into one reply.
    ReplyBlocks {
        /// The transport's id of the request.
        request_id: u64,
        from: Height,
        /// Most entries of the reply.
        count: u32,
    },
    /// Penalise a peer that broke a rule.
    Blame(NodeId, Fault),
    /// Publish a final block. It comes after the block's log entry is durable.
    Committed(Box<Committed>),
    /// Report an event to the operator's event stream and to the metrics.
    Event(Event),
}

/// The state of this node's right to sign. A node without it follows the chain like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// The node signs whenever it is a validator of the height.
    On,
    /// The node does not know what it signed up to this height, so it signs nothing until that height is final.
    After(Height),
    /// The node has no validator key.
    Keyless,
    /// The node follows the chain and signs nothing, for this reason.
    Stopped(String),
}
