//! The words that nodes use: topics, events, verdicts.

use std::net::SocketAddr;

use libp2p::{PeerId, gossipsub::MessageId, request_response::InboundRequestId};
use protocol::NodeId;

/// What is gossiped. One mesh each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Consensus votes and proposals.
    Votes,
    /// Transactions on their way into a block.
    Transactions,
    /// Announcements of decided blocks.
    Blocks,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Votes, Self::Transactions, Self::Blocks];
}

/// What the network tells the node.
#[derive(Debug)]
pub enum NetEvent {
    /// A peer on our chain is there.
    Connected(NodeId),
    /// It is gone. What was queued for it is dropped.
    Disconnected(NodeId),
    /// Something gossiped. It goes no further until [`crate::NetHandle::verdict`] accepts it.
    Gossip {
        /// To be judged by.
        id: GossipId,
        /// Where it was said.
        topic: Topic,
        /// The connected peer that passed it on, not necessarily its author.
        from: NodeId,
        /// What was said.
        bytes: Vec<u8>,
    },
    /// A direct message, in the order its sender sent them.
    Message {
        /// The sender.
        from: NodeId,
        /// What it said.
        bytes: Vec<u8>,
    },
    /// A question, to be answered with [`crate::NetHandle::respond`].
    Request {
        /// Who asks.
        from: NodeId,
        /// To be answered by.
        id: RequestId,
        /// What it asks.
        bytes: Vec<u8>,
    },
    /// This node can be reached at this address, which includes its name.
    Listening(String),
}

/// Names one gossiped message and the peer that is accountable for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipId {
    pub(crate) message: MessageId,
    pub(crate) source: PeerId,
}

/// Names one question that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(crate) InboundRequestId);

/// What became of a gossiped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sound: pass it on.
    Accept,
    /// Old, known or not for now: drop it, nobody is to blame.
    Ignore,
    /// It is wrong and its bearer should have seen that: drop it and lower the bearer's standing.
    Reject,
}

/// How a peer misbehaved. Enough of it, soon enough, is a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Bytes that do not decode.
    Malformed,
    /// Bytes that decode and cannot be true: a bad signature, an invalid block.
    Invalid,
    /// More bytes than allowed.
    Oversize,
    /// More often than allowed.
    Spam,
    /// A promise not kept, such as an empty answer for a block it said to have.
    Unhelpful,
}

/// A peer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who it is.
    pub id: NodeId,
    /// Where it is.
    pub address: String,
    /// Whether we reached out to it.
    pub outbound: bool,
    /// The software it says it runs.
    pub agent: String,
    /// Where it takes data connections, if it said so.
    pub data: Option<SocketAddr>,
    /// What it did wrong lately; see [`Offence`]. It is banned at 100.
    pub offence_points: u32,
}
