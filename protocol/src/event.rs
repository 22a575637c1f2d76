//! Events: facts about a node, in the past tense. Logs, metrics, the UI and the simulator's timeline share this enum.
//!
//! Each event is emitted once, where it became true; `base::events` logs it and passes it to the subscribers. Errors and
//! progress reports are not events: they go to the caller of the operation.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::{Amount, BlobHash, BlockHash, DatanetId, Height, NodeId, ValidatorKey, machine::DealId};

/// Something that happened in a node. Serialises as an object with the variant's name under `event`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A block became final on this node and is durable.
    Committed {
        height: Height,
        block: BlockHash,
        transactions: usize,
        /// The round it was decided in. Above 0, a proposer was slow or absent.
        round: u32,
        /// Time from entering the height to the decision. `None` for a block that was synced from a peer.
        took: Option<Duration>,
    },
    /// A proposed block broke a consensus rule; no honest validator votes for it.
    Refused {
        height: Height,
        /// The rule it breaks.
        why: String,
    },
    /// A validator signed two conflicting votes or proposals. The evidence is stored with the block.
    Equivocated {
        validator: ValidatorKey,
        height: Height,
    },
    EpochStarted {
        height: Height,
        /// Number of validators in the new set.
        validators: usize,
        /// True if this node is one of them.
        voting: bool,
    },
    /// This node was behind and synced blocks from a peer.
    CaughtUp {
        /// The new tip.
        height: Height,
        from: NodeId,
    },
    /// This node stopped signing because its key might sign twice; it still follows the chain.
    StoppedSigning {
        /// The reason, and what the operator can do.
        why: String,
    },
    PeerConnected {
        peer: NodeId,
    },
    PeerDisconnected {
        peer: NodeId,
    },
    /// A dataset was ingested: cut into shards and stored.
    DatasetAdded {
        root: BlobHash,
        records: u64,
        /// Total size of its shards.
        bytes: u64,
    },
    /// A dataset was fetched from peers, complete and verified.
    DatasetFetched {
        root: BlobHash,
        /// Bytes that were received and verified.
        bytes: u64,
    },
    /// A dataset was removed from this node's library.
    DatasetRemoved {
        root: BlobHash,
    },
    /// A peer served bytes that do not match the requested hash.
    ProviderBlamed {
        peer: NodeId,
        /// The dataset that was being fetched.
        root: BlobHash,
    },
    /// The garbage collector deleted unreferenced blobs.
    Collected {
        blobs: usize,
    },
    DatanetFounded {
        datanet: DatanetId,
    },
    DatanetJoined {
        datanet: DatanetId,
    },
    /// This node offered a storage deal to hosts.
    DealMade {
        #[serde(serialize_with = "text")]
        deal: DealId,
        /// Number of copies wanted.
        copies: u16,
    },
    /// This node accepted a storage deal as a host.
    DealTaken {
        #[serde(serialize_with = "text")]
        deal: DealId,
        owner: NodeId,
        /// Bytes to be stored for the deal.
        bytes: u64,
    },
    /// A host registered: it holds every shard of the deal.
    CopyHeld {
        #[serde(serialize_with = "text")]
        deal: DealId,
        host: NodeId,
    },
    /// A host passed the audits of an epoch and is owed its price.
    HostOwed {
        #[serde(serialize_with = "text")]
        deal: DealId,
        host: NodeId,
        epoch: u64,
        #[serde(serialize_with = "text")]
        amount: Amount,
    },
    /// A host did not answer an audit in time.
    AuditMissed {
        #[serde(serialize_with = "text")]
        deal: DealId,
        host: NodeId,
        /// Audits missed in a row.
        misses: u32,
    },
    /// A host was dropped from a deal; the owner looks for a replacement.
    HostDropped {
        #[serde(serialize_with = "text")]
        deal: DealId,
        host: NodeId,
        why: String,
    },
    /// A storage deal of this node, as owner, is over.
    DealEnded {
        #[serde(serialize_with = "text")]
        deal: DealId,
    },
    /// This node, as a host, deleted its copy for a deal.
    CopyDropped {
        #[serde(serialize_with = "text")]
        deal: DealId,
        why: String,
    },
    /// A training run started or resumed.
    TrainingStarted {
        /// The run's id: the hash of base, records, weights, seed and hyper-parameters.
        run: BlobHash,
        /// The last completed step; 0 for a fresh run.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// A training run completed its last step.
    TrainingFinished {
        run: BlobHash,
        /// The state root after the last step.
        root: BlobHash,
    },
    /// The inference engine is ready for requests.
    EngineReady {
        /// The content hash of the base model.
        base: String,
        /// Number of adapters known by name.
        adapters: usize,
    },
    /// The inference engine exited unexpectedly and is being restarted.
    EngineDown {
        why: String,
    },
}

/// Serialises a value as its `Display` text: JSON readers lose digits of large integers.
fn text<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
