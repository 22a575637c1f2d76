//! The keys of a node: one identifies it among peers, one signs its votes. Each is a file of its own with mode 0600,
//! written once.
//!
//! # Why not one key for both
//!
//! A node can move to another machine, or be replaced, without its stake.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use protocol::crypto::SecretKey;
use storage::secret::{self, SecretError};

use crate::entropy;

/// Reason why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    File(#[from] SecretError),
    /// The file holds no key.
    #[error("{0} does not hold 64 hex digits; restore it from a backup, or move it aside and run `openledger init`")]
    Content(PathBuf),
    #[error("could not make the folder {}", folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Reads a key. Fails if others may read the file.
pub fn read(path: &Path) -> Result<SecretKey, KeyError> {
    let bytes = secret::read(path)?;
    let seed = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| hex::decode(text.trim()).ok());
    let seed = seed
        .and_then(|seed| seed.try_into().ok())
        .ok_or_else(|| KeyError::Content(path.to_owned()))?;
    Ok(SecretKey::from_seed(seed))
}

/// Reads a key; creates a random one if the file is missing.
pub fn read_or_create(path: &Path) -> Result<SecretKey, KeyError> {
    if !path.exists() {
        write(path, &SecretKey::from_seed(entropy::bytes()))?;
    }
    read(path)
}

/// Writes a key; fails if the file exists.
pub fn write(path: &Path, key: &SecretKey) -> Result<(), KeyError> {
    if let Some(folder) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| KeyError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
    }
    let text = format!("{}\n", hex::encode(key.seed()));
    Ok(secret::write(path, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/node.key");
        let made = read_or_create(&path).unwrap();
        assert_eq!(read_or_create(&path).unwrap().public(), made.public());
    }

    #[test]
    fn a_file_that_is_no_key_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        secret::write(&path, b"hello").unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("restore it from a backup")
        );
    }
}
