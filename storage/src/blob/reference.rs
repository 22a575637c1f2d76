//! Files of the user that serve as stored bytes, and the detection of changes to them.
//!
//! Size and modification time are recorded on import. While both are unchanged, the file is assumed unchanged; otherwise it
//! is hashed again. Setting the time back defeats this check but never a reader: every range is verified against the hash
//! tree before it leaves.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use bincode::{Decode, Encode};
use protocol::BlobHash;

/// A file outside the store, as it was on import.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reference {
    pub path: PathBuf,
    pub stamp: Stamp,
}

/// A file's size and modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Stamp {
    /// Length in bytes.
    pub len: u64,
    /// Modification time, in seconds and nanoseconds since 1970.
    pub changed: (i64, i64),
}

/// Error of a referenced file that no longer stands for its blob.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error(
        "{} was changed after it was added by reference as {hash:#}; put the old file back, or add the new one under \
         its own hash", path.display()
    )]
    Changed { hash: BlobHash, path: PathBuf },
    #[error(
        "{} cannot be read, and {hash:#} was added from it by reference; put the file back, or add it again from \
         where it is now", path.display()
    )]
    Unreadable {
        hash: BlobHash,
        path: PathBuf,
        source: io::Error,
    },
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let about = fs::metadata(path)?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Self {
            len: about.len(),
            changed: (about.mtime(), about.mtime_nsec()),
        })
    }
}

impl Reference {
    /// Returns true if size and modification time are as recorded. Costs one `stat`.
    pub(super) fn has_same_stamp(&self, hash: BlobHash) -> Result<bool, ReferenceError> {
        let now = Stamp::of(&self.path).map_err(|source| self.unreadable(hash, source))?;
        Ok(now == self.stamp)
    }

    /// Hashes the file; returns the updated reference if the bytes match `hash`. Blocks.
    pub(super) fn verify(&self, hash: BlobHash) -> Result<Self, ReferenceError> {
        let unreadable = |source| self.unreadable(hash, source);
        let stamp = Stamp::of(&self.path).map_err(unreadable)?;
        let mut hasher = blake3::Hasher::new();
        if stamp.len == self.stamp.len {
            // Read, not mapped: truncating a mapped file would kill the process.
            let file = fs::File::open(&self.path).map_err(unreadable)?;
            hasher.update_reader(file).map_err(unreadable)?;
        }
        if hasher.finalize().as_bytes() != &hash.0 {
            return Err(ReferenceError::Changed {
                hash,
                path: self.path.clone(),
            });
        }
        Ok(Self {
            path: self.path.clone(),
            stamp,
        })
    }

    fn unreadable(&self, hash: BlobHash, source: io::Error) -> ReferenceError {
        ReferenceError::Unreadable {
            hash,
            path: self.path.clone(),
            source,
        }
    }
}
