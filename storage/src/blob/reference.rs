//! Files that belong to the user and stand in for stored bytes, and how a change to one is noticed.
//!
//! The size and the time of the last change are written down when the file is imported. As long as they are the same
//! the file is taken to be the same; when they differ its bytes are hashed again. Whoever changes a file and puts its
//! clock back fools this check, but not a reader: every range is verified against the tree of hashes before it leaves.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use bincode::{Decode, Encode};
use protocol::BlobHash;

/// A file outside the store, as it was when it was imported.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reference {
    /// Where it lies.
    pub path: PathBuf,
    /// How it looked.
    pub stamp: Stamp,
}

/// What a file looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Stamp {
    /// Its length in bytes.
    pub len: u64,
    /// When its bytes last changed, in seconds and nanoseconds since 1970.
    pub changed: (i64, i64),
}

/// Why a file outside the store no longer stands for a blob.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Somebody edited it.
    #[error(
        "{} was changed after it was added by reference as {hash:#}; put the old file back, or add the new one under \
         its own hash", path.display()
    )]
    Changed {
        /// The blob.
        hash: BlobHash,
        /// The file.
        path: PathBuf,
    },
    /// It is gone, or cannot be read.
    #[error(
        "{} cannot be read, and {hash:#} was added from it by reference; put the file back, or add it again from \
         where it is now", path.display()
    )]
    Unreadable {
        /// The blob.
        hash: BlobHash,
        /// The file.
        path: PathBuf,
        /// What the system said.
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
    /// Whether the file still looks as it did. Costs one `stat`.
    pub(super) fn looks_same(&self, hash: BlobHash) -> Result<bool, ReferenceError> {
        let now = Stamp::of(&self.path).map_err(|source| self.unreadable(hash, source))?;
        Ok(now == self.stamp)
    }

    /// Hashes the file, and says how it looks now if the bytes are those of `hash`. Blocks.
    pub(super) fn verify(&self, hash: BlobHash) -> Result<Self, ReferenceError> {
        let unreadable = |source| self.unreadable(hash, source);
        let stamp = Stamp::of(&self.path).map_err(unreadable)?;
        let mut hasher = blake3::Hasher::new();
        if stamp.len == self.stamp.len {
            // Read, not mapped: a file that is cut short under a mapping would end the process.
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
