//! One process per home: two would sign with the same keys.

use std::{
    fs::{self, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// Why the home was not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("{} is in use by process {pid}; stop that process or choose another --home", home.display())]
    Held {
        /// The home.
        home: PathBuf,
        /// The process, as it wrote itself down.
        pid: String,
    },
    /// The operating system refused.
    #[error("could not lock {}", file.display())]
    Io {
        /// The lock file.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The home is ours until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct HomeLock {
    file: fs::File,
}

impl HomeLock {
    /// Takes the lock file in `home`, without waiting.
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
                // The file is never removed: a second process could lock the name while the first locks the file.
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
        // Closing would do, but for a child process that was forked and has not yet run its program: it has the file too,
        // and the lock would be held until it does.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_process_that_has_the_first() {
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
