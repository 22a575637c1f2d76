//! What the consensus journal holds: exactly the inputs whose loss could make this node contradict itself, and the
//! bodies of the blocks it voted for. Replayed in order after a crash.

use bincode::{Decode, Encode};
use protocol::{
    BlockHash, ValidatorKey, codec,
    crypto::Signed,
    message::{
        chain::{BODY_MAX, Body},
        vote::{Certificate, Proposal, Vote},
    },
};

/// Longest record: a block body and a little around it.
pub const RECORD_MAX: usize = BODY_MAX + (64 << 10);

/// Which timer ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Timer {
    /// No proposal came.
    Propose,
    /// Prevotes did not agree.
    Prevote,
    /// Precommits did not agree.
    Precommit,
}

/// One input of the height that is being decided.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// A vote, ours or a peer's.
    Vote(Signed<Vote>),
    /// A proposal, ours or a peer's.
    Proposal(Signed<Proposal>),
    /// A quorum of prevotes.
    Polka(Certificate),
    /// A timer that ran out.
    Timeout(Timer, u32),
    /// A block that was executed, and what came of it.
    Executed {
        /// The round it was proposed in.
        round: u32,
        /// By whom.
        proposer: ValidatorKey,
        /// Its name.
        block: BlockHash,
        /// Whether it keeps the rules.
        valid: bool,
    },
    /// The block itself, written before anything that names it.
    Body(Body),
}

/// A record that cannot be read although its checksum holds: written by another version, or not by us.
#[derive(Debug, thiserror::Error)]
#[error("record {index} of the consensus journal cannot be read; do not sign before it is understood")]
pub struct ReplayError {
    /// Its place in the journal.
    pub index: usize,
    /// Why.
    #[source]
    pub source: codec::DecodeError,
}

/// Reads back what was journalled for one height.
pub fn read(records: &[Vec<u8>]) -> Result<Vec<Record>, ReplayError> {
    let read = |(index, bytes): (usize, &Vec<u8>)| {
        codec::decode(bytes, RECORD_MAX).map_err(|source| ReplayError { index, source })
    };
    records.iter().enumerate().map(read).collect()
}
