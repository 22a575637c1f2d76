//! A full check: every blob is read and verified, and the index is compared with the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use futures::StreamExt as _;
use protocol::BlobHash;

use super::{
    collect::CollectError,
    read::{Piece, ReadError, Status},
    reason::Format,
    store::BlobStore,
};

/// The repairs that a check may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    Nothing,
    /// Remove files that belong to no blob.
    Orphans,
    /// Also drop damaged blobs, so that they can be fetched or added again. Their reasons stay. The children of a
    /// dropped sequence stay only if they have reasons of their own: fetch the root again before collecting.
    Damaged,
}

/// The result of a check.
#[derive(Debug, Default)]
pub struct FsckReport {
    /// Number of complete and valid blobs.
    pub sound: usize,
    /// Number of bytes hashed.
    pub bytes: u64,
    /// Incomplete blobs. Their bytes are verified when they are read.
    pub partial: BTreeSet<BlobHash>,
    /// Blobs whose bytes do not match their hash, with the error.
    pub damaged: BTreeMap<BlobHash, ReadError>,
    /// Blobs with a reason, or in a sequence with one, that are not complete here.
    pub missing: BTreeSet<BlobHash>,
    /// Files that belong to no blob.
    pub orphans: Vec<PathBuf>,
}

/// Error that ended a check early.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error("could not list or clear {}", path.display())]
    Files { path: PathBuf, source: io::Error },
}

impl BlobStore {
    /// Checks every blob, and repairs what `repair` allows. `progress` is called with the number of checked blobs and
    /// the total.
    pub async fn fsck(
        &self,
        repair: Repair,
        mut progress: impl FnMut(usize, usize) + Send,
    ) -> Result<FsckReport, FsckError> {
        let mut checked = FsckReport::default();
        let stored = self.stored().await?;
        let mut each = futures::stream::iter(
            stored
                .iter()
                .copied()
                .map(|hash| async move { (hash, self.check(hash).await) }),
        )
        .buffer_unordered(self.shared.settings.checks.max(1));
        let (mut done, total) = (0, stored.len());
        while let Some((hash, result)) = each.next().await {
            match result {
                Ok(Some(bytes)) => {
                    checked.sound += 1;
                    checked.bytes += bytes;
                }
                Ok(None) => {
                    checked.partial.insert(hash);
                }
                // Collected since the listing.
                Err(ReadError::Absent { .. }) => (),
                Err(error) => {
                    checked.damaged.insert(hash, error);
                }
            }
            done += 1;
            progress(done, total);
        }
        drop(each);
        checked.missing = self.missing().await;
        self.repair(repair, &mut checked).await?;
        Ok(checked)
    }

    /// Reads a whole blob as it would be served. Returns its size, or `None` if it is incomplete.
    async fn check(&self, hash: BlobHash) -> Result<Option<u64>, ReadError> {
        if let Status::Partial { .. } = self.status(hash).await {
            return Ok(None);
        }
        self.unchanged(hash).await?;
        let mut pieces = std::pin::pin!(self.pieces(hash, 0..u64::MAX));
        let mut read = 0;
        while let Some(piece) = pieces.next().await {
            if let Piece::Bytes { bytes, .. } = piece? {
                read += bytes.len() as u64;
            }
        }
        Ok(Some(read))
    }

    async fn missing(&self) -> BTreeSet<BlobHash> {
        let mut wanted = BTreeSet::new();
        for (hash, kept) in self.kept() {
            wanted.insert(hash);
            if kept.format == Format::Sequence {
                // A missing or damaged root is reported as such.
                wanted.extend(self.children(hash).await.unwrap_or_default());
            }
        }
        let mut missing = BTreeSet::new();
        for hash in wanted {
            if !matches!(self.status(hash).await, Status::Complete { .. }) {
                missing.insert(hash);
            }
        }
        missing
    }

    /// Compares the files with the index, with the exclusive lock held, and repairs.
    async fn repair(&self, repair: Repair, checked: &mut FsckReport) -> Result<(), FsckError> {
        let exclusive = self.lock_exclusively().await?;
        let stored = self.stored().await?;
        let data = self.shared.dir.join("data");
        let files = |source| FsckError::Files {
            path: data.clone(),
            source,
        };
        for file in fs::read_dir(&data).map_err(files)? {
            let path = file.map_err(files)?.path();
            if blob_of(&path).is_none_or(|hash| !stored.contains(&hash)) {
                checked.orphans.push(path);
            }
        }
        if repair == Repair::Nothing {
            return Ok(());
        }
        for path in &checked.orphans {
            fs::remove_file(path).map_err(|source| FsckError::Files {
                path: path.clone(),
                source,
            })?;
        }
        let garbage: BTreeSet<BlobHash> = checked.damaged.keys().copied().collect();
        if repair == Repair::Damaged && !garbage.is_empty() {
            self.delete(&exclusive, &stored, &garbage).await?;
        }
        Ok(())
    }
}

/// Returns the blob to which a file in the data directory belongs.
fn blob_of(path: &Path) -> Option<BlobHash> {
    path.file_stem().and_then(OsStr::to_str)?.parse().ok()
}
