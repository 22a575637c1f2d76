//! The file operations that durability rests on, and the real disk.
//!
//! The interface is small on purpose: every operation behaves the same on a real disk and on [`crate::FaultDisk`]. It
//! promises only what disks promise: bytes survive a power failure after [`File::sync_data`], names after
//! [`Disk::sync_dir`] of their directory.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// An open file. Offsets are explicit, so that the readers and the one writer can share it.
///
/// ```
/// use std::path::Path;
/// use storage::{Disk, FaultDisk};
///
/// let disk = FaultDisk::new();
/// let file = disk.create(Path::new("a")).unwrap();
/// file.write_at(b"kept", 0).unwrap();
/// file.sync_data().unwrap(); // The bytes.
/// disk.sync_dir(Path::new("")).unwrap(); // The name.
/// disk.crash(1);
/// assert_eq!(disk.bytes(Path::new("a")).as_deref(), Some(&b"kept"[..]));
/// ```
#[expect(clippy::len_without_is_empty, reason = "a preallocated file is never empty")]
pub trait File: Send + Sync {
    /// Reads until `buf` is full or the file ends; returns the number of bytes read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`. After an error, any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns the size of the file.
    fn len(&self) -> io::Result<u64>;
    /// Extends the file to at least `len` bytes with zeros, and reserves the space. Never shrinks it.
    fn preallocate(&self, len: u64) -> io::Result<()>;
    /// Makes everything written so far durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// A directory tree with durable operations: the real disk, or a simulated one.
pub trait Disk: Send + Sync {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Creates an empty file. Fails if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Creates a directory and its parents. Succeeds if it exists.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file, replacing one with the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns the files of a directory, sorted; none if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes names created, changed and removed in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Returns a number that peers cannot predict, so that no payload can be crafted to look like a record.
    fn nonce(&self) -> u64;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(
            fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path)?,
        ))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        dir.parent().map_or(Ok(()), |above| self.sync_dir(above))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // The parent of a relative name such as `home` is the empty path, which means the current directory.
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        fs::File::open(dir)?.sync_all()
    }

    fn nonce(&self) -> u64 {
        // The standard library seeds this from the operating system.
        RandomState::new().hash_one(std::process::id())
    }
}

/// Returns the number of bytes that a user may still write to the file system that holds `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(path)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

impl File for fs::File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match FileExt::read_at(self, &mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        use rustix::{fs::FallocateFlags, io::Errno};
        if len <= File::len(self)? {
            return Ok(());
        }
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, len) {
            // Some file systems cannot reserve space. The journal then reserves it by writing zeros ahead.
            Err(Errno::OPNOTSUPP) => self.set_len(len),
            done => Ok(done?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preallocated_file_is_long_and_zero() {
        let home = tempfile::tempdir().expect("a place for files");
        let path = home.path().join("a");
        let file = RealDisk.create(&path).expect("created");
        file.preallocate(10_000).expect("room");
        file.write_at(b"x", 9_999).expect("written");
        file.preallocate(100).expect("never shrinks");
        let mut buf = [7; 20_000];
        assert_eq!(file.read_at(&mut buf, 0).expect("read"), 10_000);
        assert_eq!((&buf[..9_999], buf[9_999]), (&[0; 9_999][..], b'x'));
    }

    #[test]
    fn free_space_is_known_for_existing_paths_only() {
        let home = tempfile::tempdir().expect("a place for files");
        assert!(free_bytes(home.path()).expect("it exists") > 0);
        assert!(free_bytes(&home.path().join("no such file")).is_err());
    }

    #[test]
    fn a_missing_directory_lists_as_empty() {
        assert!(RealDisk.list(Path::new("/no/such/dir")).expect("listed").is_empty());
    }
}
