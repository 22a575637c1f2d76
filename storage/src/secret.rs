//! Secret files: keys and tokens that only their owner may read.
//!
//! They are written completely or not at all, and never over an existing file, since a key replaced by accident is lost.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

const BYTES_MAX: u64 = 1 << 20;

/// Error of reading or writing a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file's mode lets other users read it.
    #[error("{} is readable by others (mode {mode:04o}); run: chmod 600 {}", file.display(), file.display())]
    Exposed { file: PathBuf, mode: u32 },
    #[error("{} exists and is not overwritten; move it away first", file.display())]
    Exists { file: PathBuf },
    /// The file is too long to be a key.
    #[error("{} has more than {BYTES_MAX} bytes: it is not a key file", file.display())]
    TooLong { file: PathBuf },
    #[error("could not {verb} {}", file.display())]
    Io {
        /// The operation that failed.
        verb: &'static str,
        file: PathBuf,
        source: io::Error,
    },
}

/// Writes a new secret with mode 0600. Durable on return; fails if the file exists.
///
/// ```
/// use storage::secret;
///
/// let home = tempfile::tempdir().unwrap();
/// let path = home.path().join("node.key");
/// secret::write(&path, b"seed").unwrap();
/// assert_eq!(secret::read(&path).unwrap().as_slice(), b"seed");
/// assert!(secret::write(&path, b"other").is_err(), "never overwritten");
/// ```
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), SecretError> {
    let io = |verb| {
        move |source| SecretError::Io {
            verb,
            file: path.to_owned(),
            source,
        }
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(io("create"))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    // A link fails if the name is taken; a rename would replace the file.
    let named = written.and_then(|()| fs::hard_link(&new, path));
    let _ = fs::remove_file(&new);
    match named {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(SecretError::Exists { file: path.to_owned() });
        }
        named => named.map_err(io("write"))?,
    }
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io("sync the directory of"))
}

/// Reads a secret. Refuses a file that other users can read.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let io = |verb| {
        move |source| SecretError::Io {
            verb,
            file: path.to_owned(),
            source,
        }
    };
    let file = fs::File::open(path).map_err(io("open"))?;
    let about = file.metadata().map_err(io("open"))?;
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed {
            file: path.to_owned(),
            mode,
        });
    }
    if about.len() > BYTES_MAX {
        return Err(SecretError::TooLong { file: path.to_owned() });
    }
    // Reserve the space first: a growing vector leaves copies of the key in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0) + 1));
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(io("read"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_reads_back_and_only_its_owner_may_read_it() {
        let home = tempfile::tempdir().expect("a place for files");
        let path = home.path().join("node.key");
        write(&path, b"seed").expect("written");
        assert_eq!(read(&path).expect("read").as_slice(), b"seed");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        let error = read(&path).expect_err("others may read it").to_string();
        assert!(
            error.contains("mode 0644") && error.ends_with(&format!("run: chmod 600 {}", path.display())),
            "{error}"
        );
    }

    #[test]
    fn a_secret_is_never_overwritten() {
        let home = tempfile::tempdir().expect("a place for files");
        let path = home.path().join("node.key");
        write(&path, b"first").expect("written");
        assert!(matches!(write(&path, b"second"), Err(SecretError::Exists { .. })));
        assert_eq!(read(&path).expect("read").as_slice(), b"first");
        assert_eq!(
            fs::read_dir(home.path()).expect("listed").count(),
            1,
            "nothing is left beside it"
        );
    }
}
