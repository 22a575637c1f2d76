//! The lock on a home directory: two processes with one home would sign with the same keys.

use std::{
    fs::{self, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// Error of locking a home.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has the lock.
    #[error("{} is in use by process {pid}; stop that process or choose another --home", home.display())]
    Held {
        home: PathBuf,
        /// The other process's id, as it wrote it into the file.
        pid: String,
    },
    #[error("could not lock {}", file.display())]
    Io { file: PathBuf, source: io::Error },
}

/// An exclusive lock on a home, until it is dropped or the process ends in any way.
#[derive(Debug)]
pub struct HomeLock {
    file: fs::File,
}

impl HomeLock {
    /// Locks `home` through its lock file, without waiting.
    pub fn acquire(home: &Path) -> Result<Self, LockError> {
        let path = home.join("lock");
        let io = |source| LockError::Io {
            file: path.clone(),
            source,
        };
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {
                // The file is never removed: otherwise one process could lock the old file and another one the new.
                file.set_len(0).map_err(io)?;
                file.write_all(std::process::id().to_string().as_bytes()).map_err(io)?;
                Ok(Self { file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = file.rewind().and_then(|()| (&file).take(20).read_to_string(&mut pid));
                let known = read.is_ok() && !pid.is_empty();
                let pid = if known { pid } else { "unknown".to_owned() };
                Err(LockError::Held {
                    home: home.to_owned(),
                    pid,
                })
            }
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // Closing the file would do, except that a child process that was forked and has not yet called exec shares
        // the file, and would hold the lock until then.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holding_process() {
        let home = tempfile::tempdir().expect("a place for files");
        let lock = HomeLock::acquire(home.path()).expect("free");
        let error = HomeLock::acquire(home.path()).expect_err("taken").to_string();
        assert!(
            error.contains(&format!("in use by process {}", std::process::id())),
            "{error}"
        );
        drop(lock);
        HomeLock::acquire(home.path()).expect("free again");
    }
}
