//! The types of the network's interface: topics, events, verdicts, offences.

use std::net::SocketAddr;

use libp2p::{PeerId, gossipsub::MessageId, request_response::InboundRequestId};
use protocol::NodeId;

/// A gossip topic. Each has a mesh of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Consensus votes and proposals.
    Votes,
    /// Pending transactions.
    Transactions,
    /// Announcements of final blocks.
    Blocks,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 3] = [Self::Votes, Self::Transactions, Self::Blocks];
}

/// An event that the network reports to the node.
#[derive(Debug)]
pub enum NetEvent {
    /// A peer on our chain connected.
    Connected(NodeId),
    /// A peer disconnected. Messages queued for it are dropped.
    Disconnected(NodeId),
    /// A gossip message. It is not forwarded until [`crate::NetHandle::verdict`] accepts it.
    Gossip {
        /// The id for the verdict.
        id: GossipId,
        topic: Topic,
        /// The connected peer that forwarded it, not necessarily its author.
        from: NodeId,
        bytes: Vec<u8>,
    },
    /// A direct message. Messages of one peer arrive in the order of sending.
    Message { from: NodeId, bytes: Vec<u8> },
    /// A request; answer it with [`crate::NetHandle::respond`].
    Request {
        from: NodeId,
        /// The id for the reply.
        id: RequestId,
        bytes: Vec<u8>,
    },
    /// The network listens on this address, which includes the peer id.
    Listening(String),
}

/// The id of a gossip message, with the peer that is accountable for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipId {
    pub(crate) message: MessageId,
    pub(crate) source: PeerId,
}

/// The id of a request that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(crate) InboundRequestId);

/// The application's decision about a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid: forward it.
    Accept,
    /// Old, known or not relevant now: drop it without a penalty.
    Ignore,
    /// Invalid, and the forwarding peer should have noticed: drop it and penalise that peer.
    Reject,
}

/// A kind of misbehaviour. Each adds offence points; at 100 the peer is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Bytes that do not decode.
    Malformed,
    /// Bytes that decode but are invalid: a bad signature, an invalid block.
    Invalid,
    /// More bytes than allowed.
    Oversize,
    /// More often than allowed.
    Spam,
    /// An unfulfilled claim, such as an empty reply for a block that the peer said it has.
    Unhelpful,
}

/// A connected peer, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    pub id: NodeId,
    pub address: String,
    /// True if this node dialled the peer.
    pub outbound: bool,
    /// The software that the peer claims to run.
    pub agent: String,
    /// The peer's address for data connections, if it told one.
    pub data: Option<SocketAddr>,
    /// Recent offence points; see [`Offence`]. The peer is banned at 100.
    pub offence_points: u32,
}
