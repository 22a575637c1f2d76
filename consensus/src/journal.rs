//! The records of the consensus journal, a write-ahead log of one height.
//!
//! It holds the inputs whose loss could make this validator contradict itself, and the bodies of the blocks it
//! voted for. After a crash they are replayed in order; see [`crate::node::Node::recover`]. Left out: files and
//! checksums, which are crate `storage`'s.

use bincode::{Decode, Encode};
use protocol::{
    BlockHash, ValidatorKey, codec,
    crypto::Signed,
    message::{
        chain::{BODY_MAX, Body},
        vote::{Certificate, Proposal, Vote},
    },
};

/// Largest record in bytes: a block body and its framing.
pub const RECORD_MAX: usize = BODY_MAX + (64 << 10);

/// The kind of a consensus timer. Its number is part of the journal's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Timer {
    /// No proposal arrived in time.
    Propose,
    /// The prevotes did not agree in time.
    Prevote,
    /// The precommits did not agree in time.
    Precommit,
}

/// One input of the height being decided. The order of the variants is part of the journal's format.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// A vote of any validator, this one included.
    Vote(Signed<Vote>),
    /// A proposal of any validator, this one included.
    Proposal(Signed<Proposal>),
    /// Prevotes of a quorum for one block.
    Polka(Certificate),
    /// An expired timer and its round.
    Timeout(Timer, u32),
    /// The result of executing a proposed block.
    Executed {
        /// The round in which it was proposed.
        round: u32,
        proposer: ValidatorKey,
        block: BlockHash,
        /// False if the block breaks a rule of the chain.
        valid: bool,
    },
    /// The body of a block, written before any record that names the block.
    Body(Body),
}

/// A journal record whose checksum holds but which cannot be decoded. Another version of the node or another
/// program wrote it.
#[derive(Debug, thiserror::Error)]
#[error("record {index} of the consensus journal cannot be read; do not sign before it is understood")]
pub struct ReplayError {
    /// The record's position in the journal, from 0.
    pub index: usize,
    #[source]
    pub source: codec::DecodeError,
}

/// Decodes the journal records of one height. One that cannot be decoded is an error, because this node may have
/// signed it.
pub fn read(records: &[Vec<u8>]) -> Result<Vec<Record>, ReplayError> {
    let read = |(index, bytes): (usize, &Vec<u8>)| {
        codec::decode(bytes, RECORD_MAX).map_err(|source| ReplayError { index, source })
    };
    records.iter().enumerate().map(read).collect()
}
