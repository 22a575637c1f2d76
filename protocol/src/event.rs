//! Facts that happened, in the past tense: one vocabulary for logs, metrics, the UI and the simulator's timeline.
//!
//! A fact is told once, where it became true: `base::events` logs it and hands it to whoever listens. An error is no fact,
//! and neither is progress: those go to whoever asked.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::{Amount, BlobHash, BlockHash, DatanetId, Height, NodeId, ValidatorKey, machine::DealId};

/// Something that happened in a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
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
    /// A peer is connected.
    PeerConnected {
        /// Who.
        peer: NodeId,
    },
    /// A peer is connected no longer.
    PeerDisconnected {
        /// Who.
        peer: NodeId,
    },
    /// A dataset was cut into shards and is kept here.
    DatasetAdded {
        /// Its name.
        root: BlobHash,
        /// Records in it.
        records: u64,
        /// Bytes of its shards.
        bytes: u64,
    },
    /// A dataset came from peers, whole and verified.
    DatasetFetched {
        /// Its name.
        root: BlobHash,
        /// Verified bytes that came.
        bytes: u64,
    },
    /// A dataset is kept here no longer.
    DatasetRemoved {
        /// Its name.
        root: BlobHash,
    },
    /// A peer sent bytes that do not match the name they were asked for by.
    ProviderBlamed {
        /// Who.
        peer: NodeId,
        /// The dataset that was fetched.
        root: BlobHash,
    },
    /// Blobs that nobody keeps were deleted.
    Collected {
        /// How many.
        blobs: usize,
    },
    /// This node founded a datanet.
    DatanetFounded {
        /// Its name.
        datanet: DatanetId,
    },
    /// This node joined a datanet.
    DatanetJoined {
        /// Its name.
        datanet: DatanetId,
    },
    /// Another node was asked to keep copies, and to be audited.
    DealMade {
        /// Its name.
        #[serde(serialize_with = "text")]
        deal: DealId,
        /// Copies that are wanted.
        copies: u16,
    },
    /// This node took a deal of another: it keeps a copy.
    DealTaken {
        /// Its name.
        #[serde(serialize_with = "text")]
        deal: DealId,
        /// Whose it is.
        owner: NodeId,
        /// What is kept for it, in bytes.
        bytes: u64,
    },
    /// A host has everything that a deal is about.
    CopyHeld {
        /// The deal.
        #[serde(serialize_with = "text")]
        deal: DealId,
        /// Who holds it.
        host: NodeId,
    },
    /// A host is owed for an epoch of audits that it passed.
    HostOwed {
        /// The deal.
        #[serde(serialize_with = "text")]
        deal: DealId,
        /// Who is owed.
        host: NodeId,
        /// The epoch.
        epoch: u64,
        /// How much.
        #[serde(serialize_with = "text")]
        amount: Amount,
    },
    /// A host did not answer an audit in time.
    AuditMissed {
        /// The deal.
        #[serde(serialize_with = "text")]
        deal: DealId,
        /// Who was asked.
        host: NodeId,
        /// Audits missed in a row.
        misses: u32,
    },
    /// A host lost a deal; another is looked for.
    HostDropped {
        /// The deal.
        #[serde(serialize_with = "text")]
        deal: DealId,
        /// Who lost it.
        host: NodeId,
        /// Why.
        why: String,
    },
    /// A deal of this node's own is over.
    DealEnded {
        /// The deal.
        #[serde(serialize_with = "text")]
        deal: DealId,
    },
    /// A copy that was kept for another is kept no longer.
    CopyDropped {
        /// The deal.
        #[serde(serialize_with = "text")]
        deal: DealId,
        /// Why.
        why: String,
    },
    /// A training run began, or went on.
    TrainingStarted {
        /// What its name hashes: base, records, weights, seed and hyper-parameters.
        run: BlobHash,
        /// The step it goes on behind.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// A training run ended as planned.
    TrainingFinished {
        /// Its name.
        run: BlobHash,
        /// The root of its last state.
        root: BlobHash,
    },
    /// The engine takes requests.
    EngineReady {
        /// The content of the base model.
        base: String,
        /// Adapters that it knows by name.
        adapters: usize,
    },
    /// The engine ended by itself and is started again.
    EngineDown {
        /// Why.
        why: String,
    },
}

/// As people read it: a program that reads JSON loses digits of large numbers.
fn text<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
