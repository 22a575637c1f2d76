//! The chain between nodes: what is gossiped about it, sent straight, and asked for.
//!
//! A block body is sent straight to peers and asked for by name; gossip carries only what fits 16 KiB. Every decoder has
//! the limit written beside its type.

use bincode::{Decode, Encode};

use crate::{
    BlockHash, Height,
    crypto::Signed,
    message::vote::{Certificate, Evidence, Proposal, RoundCertificate, Vote},
};

/// Nothing longer travels in gossip.
pub const GOSSIP_MAX: usize = 16 << 10;
/// Longest block body that is read: the encoding of a full block and the certificate of its parent.
pub const BODY_MAX: usize = 4 << 20;
/// Longest answer to a request for blocks.
pub const ANSWER_MAX: usize = 16 << 20;
/// Longest request.
pub const ASK_MAX: usize = 1 << 10;
/// Blocks that one request may ask for.
pub const BLOCKS_MAX: u32 = 256;

/// Spoken to everyone, about the height that is being decided.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Gossip {
    /// One vote.
    Vote(Signed<Vote>),
    /// One proposal; the block it names travels straight.
    Proposal(Signed<Proposal>),
    /// A quorum of prevotes.
    Polka(Certificate),
    /// Votes that let a late node skip rounds.
    Rounds(RoundCertificate),
    /// A quorum of precommits: this block is final.
    Decided(Certificate),
}

/// A proposed block with what its validity depends on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    /// The height it is for.
    pub height: Height,
    /// The round it was proposed in.
    pub round: u32,
    /// The block's RLP.
    pub block: Vec<u8>,
    /// The certificate of its parent, whose digest the block's header carries.
    pub parent_certificate: Certificate,
}

/// Sent straight to one peer, without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Direct {
    /// A block to vote on.
    Body(Body),
    /// Where the sender's chain ends.
    Status {
        /// The height of its tip.
        tip: Height,
    },
}

/// A question to one peer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ask {
    /// Final blocks from a height on, as many as fit.
    Blocks {
        /// The first one wanted.
        from: Height,
        /// At most this many.
        count: u32,
    },
    /// The body of a block that is being decided.
    Body {
        /// Its height.
        height: Height,
        /// Its name.
        block: BlockHash,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// Entries of the block log in order, each an encoded [`Entry`]; empty when the peer has none.
    Blocks(Vec<Vec<u8>>),
    /// The body, if the peer has it.
    Body(Option<Body>),
}

/// A final block as it is logged and handed to peers that catch up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The block's RLP.
    pub block: Vec<u8>,
    /// The certificate of its parent.
    pub parent_certificate: Certificate,
    /// The certificate that made it final.
    pub certificate: Certificate,
    /// Who misbehaved while it was decided, as this node saw it.
    pub evidence: Vec<Evidence>,
}
