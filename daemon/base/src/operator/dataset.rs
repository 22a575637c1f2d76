//! Requests and responses about datasets and blob stores.

use std::path::PathBuf;

use protocol::{Account, BlobHash, DatanetId, NodeId};
use serde::{Deserialize, Serialize};

/// Names a dataset on this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RootRequest {
    pub root: BlobHash,
}

/// Adds files as a dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddRequest {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    pub name: String,
    /// SPDX identifier, or `custom:NAME:0xHASH:train+…`.
    pub licence: String,
    /// The datanet it is meant for.
    pub datanet: Option<DatanetId>,
    /// The account that is paid for it.
    pub account: Option<Account>,
    /// Root of the previous version.
    pub previous: Option<BlobHash>,
    /// Leave files in place and store references to them.
    pub by_reference: bool,
    /// Skip files that no reader supports, instead of failing.
    pub skip_unusable: bool,
    /// Unit of a record of plain text: `document`, `paragraph` or `line`.
    pub text: String,
    /// Bytes of a shard; `None` for the default.
    pub shard_bytes: Option<u64>,
    /// Most bytes of a record; `None` for the default.
    pub record_bytes_max: Option<u64>,
}

/// A dataset that was added, with its duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddResponse {
    pub root: BlobHash,
    pub name: String,
    pub records: u64,
    pub bytes: u64,
    pub sources: u64,
    pub shards: u64,
    /// Records that repeat an earlier one, here or in an earlier dataset.
    pub duplicates: u64,
    /// Those of them that repeat a record of this dataset.
    pub duplicates_within: u64,
    /// Earlier datasets that are repeated, most repeated first.
    pub repeats: Vec<Repeats>,
    /// Records that were compared.
    pub compared: u64,
    /// The datasets they were compared with.
    pub compared_with: Compared,
    /// Skipped files, and why.
    pub skipped: Vec<(String, String)>,
}

/// The comparison basis for duplicates of a new dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    pub datasets: u64,
    pub records: u64,
    /// Records that were not compared for lack of room, or only for equality.
    pub records_in_part: u64,
    /// Datasets not compared: unreadable ones, and contributions to the datanet that are not on this node.
    pub not_compared: Vec<BlobHash>,
}

/// Repetitions of one earlier dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    pub root: BlobHash,
    pub name: String,
    pub datanet: Option<DatanetId>,
    /// Number of repeated records.
    pub records: u64,
    /// Those of them that are exact duplicates.
    pub same: u64,
    /// A few of the repeated records.
    pub examples: Vec<Example>,
}

/// A record that repeats an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its position in the new dataset, from 0.
    pub record: u64,
    /// Digest of the earlier record.
    pub of: BlobHash,
    /// Estimated Jaccard similarity of their words, in millionths.
    pub likeness_ppm: u32,
}

/// Fetches a dataset from peers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GetRequest {
    pub root: BlobHash,
    /// The datanet whose members have it.
    pub datanet: Option<DatanetId>,
    /// Folder to write its files to.
    pub out: Option<PathBuf>,
    /// Nodes that have it, in addition to those found.
    pub from: Vec<NodeId>,
    /// True if the dataset stays pinned here.
    pub keep: bool,
}

/// A dataset that was fetched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Got {
    pub root: BlobHash,
    pub name: String,
    /// Bytes of all its blobs.
    pub bytes: u64,
    /// Bytes that were here before.
    pub had: u64,
    /// Bytes received from each node.
    pub providers: Vec<(NodeId, u64)>,
    /// Nodes that sent false bytes, each once.
    pub blamed: Vec<NodeId>,
}

/// A dataset on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub root: BlobHash,
    pub name: String,
    /// The datanet whose members may read it; `None` if it is public.
    pub datanet: Option<DatanetId>,
    pub licence: String,
    pub records: u64,
    pub bytes: u64,
    /// True if all its blobs are on this node.
    pub complete: bool,
    pub kept_for: Vec<String>,
}

/// One record of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPart {
    /// Its position in the dataset, from 0.
    pub position: u64,
    /// A JSON object as text.
    pub object: String,
}

/// Summary after the records of a dataset were streamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsResponse {
    pub name: String,
    pub records: u64,
    /// Contributors: accounts where the dataset names them, else nodes.
    pub contributors: Vec<String>,
}

/// A dataset whose bytes were all verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyResponse {
    pub root: BlobHash,
    pub shards: u64,
    pub sources: u64,
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Names two datasets on this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffRequest {
    pub old: BlobHash,
    pub new: BlobHash,
}

/// A dataset that peers have announced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownResponse {
    pub root: BlobHash,
    /// Its size as announced.
    pub bytes: u64,
    pub providers: Vec<NodeId>,
    /// When each provider issued its announcement, and when it arrived.
    pub heard: Vec<Travel>,
}

/// Transit time of an announcement, as far as the clocks of two nodes agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Travel {
    pub from: NodeId,
    /// By the announcer's clock, in microseconds since 1970.
    pub issued_us: u64,
    /// By this node's clock, in microseconds since 1970.
    pub heard_us: u64,
}

/// Statistics of all blob stores together, and of each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatResponse {
    /// Blobs of which at least some bytes are here.
    pub blobs: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Pinned blobs and roots.
    pub pinned: u64,
    /// Free bytes of the disk.
    pub free_bytes: u64,
    /// Bytes reserved for transfers under way.
    pub reserved_bytes: u64,
    /// Time of the last garbage collection, in milliseconds since 1970; null if none ran yet.
    pub collected_at_ms: Option<u64>,
    /// Garbage collections that failed.
    pub collect_errors: u64,
    pub stores: Vec<StoreLine>,
}

/// Statistics of one blob store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreLine {
    /// The permissioned datanet it belongs to; null for the public store.
    pub datanet: Option<DatanetId>,
    /// Blobs of which at least some bytes are here.
    pub blobs: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Pinned blobs and roots.
    pub pinned: u64,
}

/// Result of a garbage collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectResponse {
    pub deleted: u64,
    /// Blobs that remain.
    pub live: u64,
}

/// Checks the blob stores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FsckRequest {
    /// True to delete damaged blobs.
    pub drop_damaged: bool,
}

/// Result of a check of the blob stores.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FsckResponse {
    /// Complete, undamaged blobs.
    pub sound: u64,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// Incomplete blobs.
    pub partial: u64,
    /// Damaged blobs that were deleted.
    pub dropped: Vec<BlobHash>,
    /// Pinned blobs that are not on this node.
    pub missing: Vec<BlobHash>,
    /// Files that belonged to no blob and were removed.
    pub orphans: u64,
}
