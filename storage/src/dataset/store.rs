//! Interfaces to the store of shards, and a directory that implements both.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use protocol::BlobHash;

/// A store that accepts the shards of an import.
pub trait ShardSink {
    /// Stores `bytes`, whose BLAKE3 hash is `hash`. Data shards come first, the manifest and the hash sequence last.
    /// `whole` is a source file with exactly these bytes, for stores that can refer to a file instead of copying it.
    fn put(&mut self, hash: BlobHash, bytes: &[u8], whole: Option<&Path>) -> io::Result<()>;
}

/// A store that shards are read from.
pub trait ShardSource: Send + Sync {
    /// Reads up to `into.len()` bytes at `offset`; returns 0 at the end. Fails with [`io::ErrorKind::NotFound`] if the
    /// blob is absent.
    fn read_at(&self, hash: &BlobHash, offset: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// Blobs as files in a directory, named by their hashes. For tests, exports, and commands that run without a daemon.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Opens the directory, or creates it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// Returns the path of a blob.
    pub fn path(&self, hash: &BlobHash) -> PathBuf {
        self.0.join(&hash.to_string()[2..])
    }
}

impl ShardSink for Folder {
    fn put(&mut self, hash: BlobHash, bytes: &[u8], _whole: Option<&Path>) -> io::Result<()> {
        let path = self.path(&hash);
        // Renamed when complete, so that a file under a blob's name is never partial.
        let part = path.with_extension("part");
        let mut file = fs::File::create(&part)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        match written {
            Ok(()) => fs::rename(&part, &path),
            Err(error) => {
                let _ = fs::remove_file(&part);
                Err(error)
            }
        }
    }
}

impl ShardSource for Folder {
    fn read_at(&self, hash: &BlobHash, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut file = fs::File::open(self.path(hash))?;
        file.seek(SeekFrom::Start(offset))?;
        file.read(into)
    }
}
