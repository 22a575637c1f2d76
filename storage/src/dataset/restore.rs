//! Restores a dataset to its source files, byte for byte, in a new folder.
//!
//! The paths come from another machine. They were checked when the source map was read; in addition, every file is created
//! in a folder that was empty, so nothing is overwritten and no prepared link is followed.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use protocol::manifest::Source;

use super::read::{Dataset, ReadError};

/// Error of restoring files.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("folder {0} is not empty; name one that is empty or not there yet")]
    NotEmpty(PathBuf),
    #[error("could not write {path}; what was written so far is whole")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Dataset {
    /// Writes every source file under `folder`, which must be empty or absent, and calls `progress` after each.
    pub fn restore(&self, folder: &Path, progress: &mut dyn FnMut(&Source)) -> Result<(), RestoreError> {
        let failed = |source| RestoreError::Write {
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        if fs::read_dir(folder).map_err(failed)?.next().is_some() {
            return Err(RestoreError::NotEmpty(folder.to_owned()));
        }
        for source in self.sources() {
            self.restore_file(source, &folder.join(&source.path))?;
            progress(source);
        }
        Ok(())
    }

    fn restore_file(&self, source: &Source, path: &Path) -> Result<(), RestoreError> {
        let failed = |source| RestoreError::Write {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path.parent().expect("joined to a folder")).map_err(failed)?;
        let mut file = fs::File::create_new(path).map_err(failed)?;
        let copied = self.copy(source, &mut file, path);
        if copied.is_err() {
            // A partial file under its final name could be mistaken for the whole.
            let _ = fs::remove_file(path);
        }
        copied
    }

    fn copy(&self, source: &Source, file: &mut fs::File, path: &Path) -> Result<(), RestoreError> {
        let mut reader = self.data.clone().reader(source.offset, source.bytes);
        let mut hasher = blake3::Hasher::new();
        let mut block = vec![0; 1 << 20];
        let failed = |source| RestoreError::Write {
            path: path.to_owned(),
            source,
        };
        loop {
            let read = reader.read(&mut block);
            match read.map_err(|error| self.blob(&self.data, source.offset, "data", error))? {
                0 => break,
                read => {
                    hasher.update(&block[..read]);
                    file.write_all(&block[..read]).map_err(failed)?;
                }
            }
        }
        if hasher.finalize().as_bytes() != &source.hash.0 {
            let hash = self.data.shard_at(source.offset).unwrap_or_default();
            return Err(ReadError::Changed { hash, kind: "data" }.into());
        }
        file.sync_all().map_err(failed)
    }
}
