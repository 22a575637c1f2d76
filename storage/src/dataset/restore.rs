//! From shards back to files, byte for byte, into a folder of their own.
//!
//! Paths of a dataset come from a stranger. They were checked when the source map was read; here every file is created
//! new in a folder that was empty, so that nothing is overwritten and no link that lay in wait is followed.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use protocol::manifest::Source;

use super::read::{Dataset, ReadError};

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something already.
    #[error("folder {0} is not empty; name one that is empty or not there yet")]
    NotEmpty(PathBuf),
    /// A file cannot be written.
    #[error("could not write {path}; what was written so far is whole")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A shard cannot be read, or is not what it should be.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Dataset {
    /// Writes every source file under `folder`, calling `progress` with the bytes of each.
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
            // Half a file under its name would pass for the file.
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
