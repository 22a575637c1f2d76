//! A check of everything: each blob is read and verified, and the books are held against the files.

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

/// What a check may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// Nothing.
    Nothing,
    /// Files that belong to no blob are removed.
    Orphans,
    /// Damaged blobs are dropped too, so that they can be fetched or added again. Their reasons stay. The children of a
    /// dropped sequence stay only if they have reasons of their own: fetch the root again before collecting.
    Damaged,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Blobs that are whole and sound.
    pub sound: usize,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// Blobs that are here in part; their bytes are verified when they are read.
    pub partial: BTreeSet<BlobHash>,
    /// Blobs whose bytes are not theirs, and why.
    pub damaged: BTreeMap<BlobHash, ReadError>,
    /// Blobs that are kept, or belong to a sequence that is, and are not whole here.
    pub missing: BTreeSet<BlobHash>,
    /// Files that belong to no blob.
    pub orphans: Vec<PathBuf>,
}

/// Why a check did not end.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The store could not be listed or mended.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// A file could not be listed or removed.
    #[error("could not list or clear {}", path.display())]
    Files {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl BlobStore {
    /// Checks everything and mends what it is told to. `progress` hears how many blobs are done, and of how many.
    pub async fn fsck(&self, mend: Mend, mut progress: impl FnMut(usize, usize) + Send) -> Result<Checked, FsckError> {
        let mut checked = Checked::default();
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
                // It was collected meanwhile.
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
        self.mend(mend, &mut checked).await?;
        Ok(checked)
    }

    /// Reads a whole blob as it would be served; none if it is not whole.
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
                // A root that is missing or damaged is reported as that.
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

    /// Compares the files with the books while nobody adds to either, and mends.
    async fn mend(&self, mend: Mend, checked: &mut Checked) -> Result<(), FsckError> {
        let gate = self.alone().await?;
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
        if mend == Mend::Nothing {
            return Ok(());
        }
        for path in &checked.orphans {
            fs::remove_file(path).map_err(|source| FsckError::Files {
                path: path.clone(),
                source,
            })?;
        }
        let doomed: BTreeSet<BlobHash> = checked.damaged.keys().copied().collect();
        if mend == Mend::Damaged && !doomed.is_empty() {
            self.delete(&gate, &stored, &doomed).await?;
        }
        Ok(())
    }
}

/// Which blob a file in the data directory belongs to.
fn blob_of(path: &Path) -> Option<BlobHash> {
    path.file_stem().and_then(OsStr::to_str)?.parse().ok()
}
