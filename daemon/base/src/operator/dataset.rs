//! Datasets and the stores they lie in.

use std::path::PathBuf;

use protocol::{Account, BlobHash, DatanetId, NodeId};
use serde::{Deserialize, Serialize};

/// Names a dataset that is here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RootAsk {
    pub root: BlobHash,
}

/// Asks to add files as a dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddAsk {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    pub name: String,
    /// SPDX, or `custom:NAME:0xHASH:train+…`.
    pub licence: String,
    /// The datanet it is for.
    pub datanet: Option<DatanetId>,
    /// The account that is paid for it.
    pub account: Option<Account>,
    /// The version before.
    pub previous: Option<BlobHash>,
    /// Leave files where they are and refer to them.
    pub by_reference: bool,
    /// Leave out what no reader is for.
    pub skip_unusable: bool,
    /// What a record of plain text is: `document`, `paragraph` or `line`.
    pub text: String,
    /// Bytes of a shard.
    pub shard_bytes: Option<u64>,
    /// Bytes of a record at most.
    pub record_bytes_max: Option<u64>,
}

/// A dataset that was added, and what of it is not new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddAnswer {
    pub root: BlobHash,
    pub name: String,
    pub records: u64,
    /// Bytes of the source files.
    pub bytes: u64,
    /// Source files.
    pub sources: u64,
    pub shards: u64,
    /// Records that say what an earlier one says, here or in an earlier dataset.
    pub duplicates: u64,
    /// Those of them whose earlier record is in this dataset.
    pub duplicates_within: u64,
    /// Earlier datasets that the others repeat, those with the most first.
    pub repeats: Vec<Repeats>,
    /// Records that were compared.
    pub compared: u64,
    /// What they were compared with beside each other.
    pub compared_with: Compared,
    /// Files that were left out, and why.
    pub skipped: Vec<(String, String)>,
}

/// What a new dataset was compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    pub datasets: u64,
    /// Their records.
    pub records: u64,
    /// Those of them that there was no room to compare with, or only exactly.
    pub records_in_part: u64,
    /// Datasets that were not: contributions to the datanet that are not here, and what is here and cannot be read.
    pub not_compared: Vec<BlobHash>,
}

/// Records of a new dataset that say what an earlier dataset says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// The earlier dataset.
    pub root: BlobHash,
    pub name: String,
    /// The datanet it was made for.
    pub datanet: Option<DatanetId>,
    /// How many records.
    pub records: u64,
    /// Those of them that are the same in every way that counts.
    pub same: u64,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// A record that is not new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its position in the new dataset, from 0.
    pub record: u64,
    /// The digest of the earlier one.
    pub of: BlobHash,
    /// How alike their words are, in millionths.
    pub likeness_ppm: u32,
}

/// Asks for a dataset from peers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GetAsk {
    pub root: BlobHash,
    /// The datanet whose members have it.
    pub datanet: Option<DatanetId>,
    /// The folder its files are written to.
    pub out: Option<PathBuf>,
    /// Nodes that have it, beside those that are found.
    pub from: Vec<NodeId>,
    /// Whether it stays.
    pub keep: bool,
}

/// A dataset that was fetched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Got {
    pub root: BlobHash,
    pub name: String,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Those that were here before.
    pub had: u64,
    /// How many bytes each node gave.
    pub providers: Vec<(NodeId, u64)>,
    /// Nodes that sent false bytes, each once.
    pub blamed: Vec<NodeId>,
}

/// A dataset that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub root: BlobHash,
    pub name: String,
    /// The datanet whose members may read it.
    pub datanet: Option<DatanetId>,
    pub licence: String,
    pub records: u64,
    /// Bytes of the source files.
    pub bytes: u64,
    /// Whether every blob of it is here.
    pub complete: bool,
    pub kept_for: Vec<String>,
}

/// One record of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPart {
    /// Its position in the dataset, from 0.
    pub position: u64,
    /// The text of a JSON object.
    pub object: String,
}

/// The dataset whose records were handed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsAnswer {
    pub name: String,
    /// How many records there were.
    pub records: u64,
    /// Whose they are: accounts where it names them, nodes otherwise.
    pub contributors: Vec<String>,
}

/// A dataset whose every byte was found sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyAnswer {
    pub root: BlobHash,
    pub shards: u64,
    /// Source files.
    pub sources: u64,
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Names two datasets that are here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffAsk {
    pub old: BlobHash,
    pub new: BlobHash,
}

/// A dataset that peers have announced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownAnswer {
    pub root: BlobHash,
    /// How long it is said to be.
    pub bytes: u64,
    pub providers: Vec<NodeId>,
    /// When each said so, and when it was heard here.
    pub heard: Vec<Travel>,
}

/// How long an announcement was on its way, as far as the clocks of two nodes agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Travel {
    pub from: NodeId,
    /// By the announcer's clock, in microseconds since 1970.
    pub issued_us: u64,
    /// By this node's clock, in microseconds since 1970.
    pub heard_us: u64,
}

/// How the stores stand, all together and one by one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatAnswer {
    /// Blobs with any bytes here.
    pub blobs: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Blobs and roots that are kept for a reason.
    pub pinned: u64,
    /// Bytes that the disk has left.
    pub free_bytes: u64,
    /// Bytes promised to what is under way.
    pub reserved_bytes: u64,
    /// When it was last cleared, in milliseconds since 1970; null if not yet.
    pub collected_at_ms: Option<u64>,
    /// Clearings that failed.
    pub collect_errors: u64,
    /// Each store.
    pub stores: Vec<StoreLine>,
}

/// How one store stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreLine {
    /// The permissioned datanet that it is for; null for the one that everybody reads.
    pub datanet: Option<DatanetId>,
    /// Blobs with any bytes in it.
    pub blobs: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Blobs and roots that are kept for a reason.
    pub pinned: u64,
}

/// What the garbage collection left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectAnswer {
    /// Blobs that are gone.
    pub deleted: u64,
    /// Blobs that stay.
    pub live: u64,
}

/// Asks for a check of the stores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FsckAsk {
    /// Whether blobs that are damaged are dropped.
    pub drop_damaged: bool,
}

/// What a check of the stores found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FsckAnswer {
    /// Whole and sound blobs.
    pub sound: u64,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// Blobs that are here in part.
    pub partial: u64,
    /// Damaged blobs that were dropped.
    pub dropped: Vec<BlobHash>,
    /// Blobs that are kept and not here.
    pub missing: Vec<BlobHash>,
    /// Files that belonged to nothing and were removed.
    pub orphans: u64,
}
