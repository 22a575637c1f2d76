//! The chain protocol: consensus gossip, block bodies sent to peers directly, and requests for blocks.
//!
//! Gossip carries at most 16 KiB. A block body is larger: the proposer sends it directly to peers, and a peer that misses it
//! requests it by hash.

use bincode::{Decode, Encode};

use crate::{
    BlockHash, Height,
    crypto::Signed,
    message::vote::{Certificate, Evidence, Proposal, RoundCertificate, Vote},
};

/// Largest gossip message, in bytes.
pub const GOSSIP_MAX: usize = 16 << 10;
/// Largest block body that is decoded: a full block and its parent's certificate.
pub const BODY_MAX: usize = 4 << 20;
/// Largest reply to a request for blocks.
pub const REPLY_MAX: usize = 16 << 20;
/// Largest request.
pub const REQUEST_MAX: usize = 1 << 10;
/// Most blocks that one request may ask for.
pub const BLOCKS_MAX: u32 = 256;

/// A gossiped consensus message about the current height.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Gossip {
    Vote(Signed<Vote>),
    /// A proposal. It names the block by hash; the body is sent directly.
    Proposal(Signed<Proposal>),
    /// A quorum of prevotes for one block.
    Polka(Certificate),
    /// Votes that let a node behind skip rounds.
    Rounds(RoundCertificate),
    /// A quorum of precommits: the block is final.
    Decided(Certificate),
}

/// A proposed block with its parent's certificate, which is needed to validate it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    pub height: Height,
    /// The round of the proposal.
    pub round: u32,
    /// The block in RLP.
    pub block: Vec<u8>,
    /// The certificate of the parent. The block's header carries its digest.
    pub parent_certificate: Certificate,
}

/// A one-way message to one peer, without a reply.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Direct {
    /// A block to vote on.
    Body(Body),
    /// The height of the sender's chain.
    Status { tip: Height },
}

/// A request to one peer for blocks.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ChainRequest {
    /// Final blocks from a height on, as many as fit into a reply.
    Blocks {
        /// The first height.
        from: Height,
        /// Most blocks to return, at most [`BLOCKS_MAX`].
        count: u32,
    },
    /// The body of a block at the current height.
    Body { height: Height, block: BlockHash },
}

/// A reply to a [`ChainRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ChainReply {
    /// Entries of the block log in ascending order, each an encoded [`Entry`]. Empty if the peer has none.
    Blocks(Vec<Vec<u8>>),
    /// The body, if the peer has it.
    Body(Option<Body>),
}

/// A final block as it stands in the block log and as syncing peers receive it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The block in RLP.
    pub block: Vec<u8>,
    /// The certificate of the parent.
    pub parent_certificate: Certificate,
    /// The certificate that made the block final.
    pub certificate: Certificate,
    /// Equivocations that this node saw while the block was decided. Not part of the block: nodes may differ.
    pub evidence: Vec<Evidence>,
}
