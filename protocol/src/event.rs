//! Facts that happened, in the past tense: one vocabulary for logs, metrics, the UI and the simulator's timeline.

use std::time::Duration;

use crate::{BlockHash, Height, NodeId, ValidatorKey};

/// Something that happened in a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A block became final here and survives a crash.
    Committed {
        /// Its height.
        height: Height,
        /// Its name.
        block: BlockHash,
        /// How many transactions it has.
        transactions: usize,
        /// The round it was decided in; above 0 means somebody was slow or away.
        round: u32,
        /// From when this node began to decide it to when it was final; nothing for a block that came from a peer.
        took: Option<Duration>,
    },
    /// A block was refused: no honest node votes for it.
    Refused {
        /// The height it was for.
        height: Height,
        /// The rule it breaks.
        why: String,
    },
    /// A validator said two things where it may say one; the proof is logged with the block.
    Equivocated {
        /// Who.
        validator: ValidatorKey,
        /// At which height.
        height: Height,
    },
    /// A new epoch began with this many validators.
    EpochStarted {
        /// The first height of the epoch.
        height: Height,
        /// How many validators vote in it.
        validators: usize,
        /// Whether this node is one of them.
        voting: bool,
    },
    /// Blocks came from a peer because this node was behind.
    CaughtUp {
        /// The tip now.
        height: Height,
        /// Who sent them.
        from: NodeId,
    },
    /// This node stopped signing, for its own safety; it still follows the chain.
    StoppedSigning {
        /// Why, and what to do.
        why: String,
    },
}
