//! What commands about data ask, and what they are answered with and print with `--json`.

use std::path::PathBuf;

use protocol::{Account, BlobHash, DatanetId, NodeId};
use serde::{Deserialize, Serialize};

use super::known::{Compared, Repeats};

/// What is to be added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddAsk {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// What people call it.
    pub name: String,
    /// SPDX, or `custom:NAME:0xHASH:train+…`.
    pub licence: String,
    /// The datanet it is for.
    pub datanet: Option<DatanetId>,
    /// Who is paid for it.
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

/// What was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddAnswer {
    /// Its name among peers.
    pub root: BlobHash,
    /// What people call it.
    pub name: String,
    /// Records.
    pub records: u64,
    /// Bytes of the source files.
    pub bytes: u64,
    /// Source files.
    pub sources: u64,
    /// Blobs.
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

/// A dataset that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name among peers.
    pub root: BlobHash,
    /// What people call it.
    pub name: String,
    /// The datanet whose members may read it.
    pub datanet: Option<DatanetId>,
    /// Its terms.
    pub licence: String,
    /// Records.
    pub records: u64,
    /// Bytes of the source files.
    pub bytes: u64,
    /// Whether every blob of it is here.
    pub complete: bool,
    /// Why it is here.
    pub kept_for: Vec<String>,
}

/// What a check found to be as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyAnswer {
    /// Its name.
    pub root: BlobHash,
    /// Blobs.
    pub shards: u64,
    /// Source files.
    pub sources: u64,
    /// Records.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// What came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Got {
    /// Its name among peers.
    pub root: BlobHash,
    /// What people call it.
    pub name: String,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Those that were here before.
    pub had: u64,
    /// Who gave how many.
    pub providers: Vec<(NodeId, u64)>,
    /// Who sent what is not so, each once.
    pub blamed: Vec<NodeId>,
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

/// What was deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectAnswer {
    /// Blobs that are gone.
    pub deleted: u64,
    /// Blobs that stay.
    pub live: u64,
}

/// What a check found.
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
