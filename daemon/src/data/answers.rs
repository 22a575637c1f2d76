//! What commands about data are answered with, and print with `--json`.

use protocol::{BlobHash, DatanetId, NodeId};
use serde::{Deserialize, Serialize};

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
    /// Who sent what is not so.
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
