//! Where shards go and come from, and a folder that is both.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use protocol::BlobHash;

/// Takes what an import makes.
pub trait ShardSink {
    /// Keeps `bytes`, whose BLAKE3 is `hash`. Data shards come first, the manifest and the hash sequence last. `whole` is
    /// the source file that has exactly these bytes, for stores that can refer to a file instead of copying it.
    fn put(&mut self, hash: BlobHash, bytes: &[u8], whole: Option<&Path>) -> io::Result<()>;
}

/// Gives back what was kept.
pub trait ShardSource: Send + Sync {
    /// Reads up to `into.len()` bytes from `offset`; 0 at the end. [`io::ErrorKind::NotFound`] if the blob is not here.
    fn read_at(&self, hash: &BlobHash, offset: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// Blobs as files of a folder, called by their hashes. For tests, for export, and for a store without a daemon.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Blobs in `folder`, which is made if need be.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// Where a blob lies.
    pub fn path(&self, hash: &BlobHash) -> PathBuf {
        self.0.join(&hash.to_string()[2..])
    }
}

impl ShardSink for Folder {
    fn put(&mut self, hash: BlobHash, bytes: &[u8], _whole: Option<&Path>) -> io::Result<()> {
        let path = self.path(&hash);
        // Renamed when whole, so that a blob under its name is never half of one.
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
