//! The private store of base models: one directory per model, named by a hash of its content.
//!
//! A model is copied in (sharing blocks with the original where the file system can) and checked once. From then on
//! its files are mapped and nobody else writes them, so a truncated file does not take the engine down. The transfer
//! between peers reads [`Stored::files`] and fills a directory that goes through [`Store::add`] like any other.
//!
//! A directory is filled under a temporary name and renamed when it is complete; a lock on it tells other processes
//! that it is in use.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use protocol::{BlobHash, crypto::digest};
use serde::{Deserialize, Serialize};

use super::{Model, ModelError, Text, files::shards, mapped::shown};
use crate::tensors::open;

const MANIFEST: &str = "manifest.json";

/// Prefix of a directory that is not yet, or no longer, a model.
const UNFINISHED: &str = ".unfinished-";

/// Files beside the weights, and true for those that a model must have.
const FILES: &[(&str, bool)] = &[
    ("config.json", true),
    ("tokenizer.json", true),
    ("tokenizer_config.json", false),
    ("chat_template.jinja", false),
    ("generation_config.json", false),
    ("model.safetensors.index.json", false),
];

/// The store in one directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A file of a stored model, with hash and length as they were when it was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    pub name: String,
    pub hash: BlobHash,
    pub bytes: u64,
}

/// The manifest of a stored model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Identity of the model: the digest of its files' names, hashes and lengths.
    pub hash: BlobHash,
    /// Name of the folder that it was added from. Not part of the identity.
    pub label: String,
    /// Files in the order of their names.
    pub files: Vec<StoredFile>,
}

/// Refusal or failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An operation on a file failed.
    #[error("could not {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The folder holds no model that can be used.
    #[error("{} is no model that can be served", dir.display())]
    Model {
        dir: PathBuf,
        #[source]
        source: ModelError,
    },
    /// A file differs from the one that was added.
    #[error("{} is no longer what was added; add the model again", path.display())]
    Changed { path: PathBuf },
    /// No model has this hash or name.
    #[error("no stored model is called {0}; `model ls` lists them")]
    Unknown(String),
    /// Several models have this name or begin with these digits.
    #[error("{0} begins the names of several stored models; give more digits")]
    Ambiguous(String),
}

impl Stored {
    /// Returns the length of all files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Hashes all files in `dir`. Fails if one differs from what was added.
    pub fn check(&self, dir: &Path) -> Result<(), StoreError> {
        match self
            .files
            .iter()
            .find(|file| describe(dir, file.name.clone()).ok().as_ref() != Some(file))
        {
            None => Ok(()),
            Some(file) => Err(StoreError::Changed {
                path: shown(&dir.join(&file.name)),
            }),
        }
    }

    /// Like [`Self::check`], but hashes only if a file has another length or was written after the manifest, which is
    /// the last file written. Fast enough for every start.
    pub fn check_if_touched(&self, dir: &Path) -> Result<(), StoreError> {
        let when = |name: &str| {
            let meta = fs::metadata(dir.join(name)).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        let added = when(MANIFEST).map(|(added, _)| added);
        let untouched = |file: &StoredFile| match (when(&file.name), added) {
            (Some((written, bytes)), Some(added)) => written <= added && bytes == file.bytes,
            _ => false,
        };
        match self.files.iter().all(untouched) {
            true => Ok(()),
            false => self.check(dir),
        }
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

impl Store {
    /// Opens the store, creating its directory (mode 0700), and removes what processes that are gone left unfinished.
    /// A directory in use is locked and stays.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.map_err(failed("create", root))?;
        for entry in fs::read_dir(root).map_err(failed("read", root))? {
            let entry = entry.map_err(failed("read", root))?;
            if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                continue;
            }
            let path = entry.path();
            // It may be gone by now, or another process may hold it.
            let Ok(lock) = File::open(&path) else { continue };
            if lock.try_lock().is_ok() {
                clear(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Copies a model's folder in, checks and hashes the copy. Content that is stored already returns the model that
    /// is there.
    ///
    /// ```
    /// use compute::model::Store;
    ///
    /// let home = tempfile::tempdir().unwrap();
    /// let store = Store::open(&home.path().join("models")).unwrap();
    /// let stored = store.add(std::path::Path::new("fixtures/llama-1")).unwrap();
    /// assert_eq!(store.get("llama-1").unwrap().hash, stored.hash);
    /// ```
    pub fn add(&self, dir: &Path) -> Result<Stored, StoreError> {
        let (unfinished, _lock) = self.begin()?;
        let added = self.fill(dir, &unfinished);
        if added.is_err() {
            // The first error is reported; what is left is removed at the next start.
            let _ = fs::remove_dir_all(&unfinished);
        }
        added
    }

    /// Makes a directory to fill and locks it.
    fn begin(&self) -> Result<(PathBuf, File), StoreError> {
        static BEGUN: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = BEGUN.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(format!("{UNFINISHED}{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                // Left by a process that had this process id and not removed yet.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(failed("create", &path))?,
            }
            let locked = File::open(&path).and_then(|lock| lock.lock().map(|()| lock));
            match locked {
                // Between creation and locking another process may have removed it as unfinished.
                Ok(lock) if is_at(&lock, &path) => return Ok((path, lock)),
                Ok(_) => (),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(error) => return Err(failed("lock", &path)(error)),
            }
        }
    }

    fn fill(&self, dir: &Path, unfinished: &Path) -> Result<Stored, StoreError> {
        let refused = |source| StoreError::Model {
            dir: dir.to_owned(),
            source,
        };
        let (weights, _) = shards(dir).map_err(refused)?;
        let beside = FILES
            .iter()
            .filter(|(name, needed)| *needed || dir.join(name).symlink_metadata().is_ok());
        let mut names: Vec<String> = beside.map(|(name, _)| (*name).to_owned()).chain(weights).collect();
        names.sort();
        for name in &names {
            copy(&dir.join(name), &unfinished.join(name))?;
        }
        // The copy is checked and hashed, since the original may change meanwhile.
        let model = Model::map(unfinished).map_err(refused)?;
        model.check().map_err(refused)?;
        Text::load(unfinished, model.config()).map_err(refused)?;
        drop(model);
        let files: Vec<StoredFile> = names
            .into_iter()
            .map(|name| describe(unfinished, name))
            .collect::<Result<_, _>>()?;
        let listed = serde_json::to_vec(&files).expect("names and numbers");
        let stored = Stored {
            hash: BlobHash(digest("openledger base model v1", &[&listed])),
            label: dir
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            files,
        };
        let manifest = unfinished.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&stored).expect("names and numbers");
        let written =
            File::create_new(&manifest).and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        written.map_err(failed("write", &manifest))?;
        let place = self.dir(stored.hash);
        match fs::rename(unfinished, &place) {
            Ok(()) => (),
            Err(_) if place.join(MANIFEST).exists() => {
                let there = self.get(&stored.hash.to_string())?;
                if there.check_if_touched(&place).is_ok() {
                    fs::remove_dir_all(unfinished).map_err(failed("remove", unfinished))?;
                    return Ok(there);
                }
                // The stored files were damaged since; the new copy replaces them.
                self.remove(&there)?;
                fs::rename(unfinished, &place).map_err(failed("create", &place))?;
            }
            Err(error) => return Err(failed("create", &place)(error)),
        }
        let synced = File::open(&self.root).and_then(|root| root.sync_all());
        synced.map_err(failed("sync", &self.root))?;
        Ok(stored)
    }

    /// Lists all stored models, by hash.
    pub fn list(&self) -> Result<Vec<Stored>, StoreError> {
        let mut models = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed("read", &self.root))? {
            let entry = entry.map_err(failed("read", &self.root))?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                continue;
            }
            let path = entry.path();
            let manifest = path.join(MANIFEST);
            match fs::read(&manifest) {
                Ok(text) => {
                    let stored = serde_json::from_slice(&text).map_err(io::Error::other);
                    models.push(stored.map_err(failed("read", &manifest))?);
                }
                // A directory without a manifest is no model.
                Err(_) => continue,
            }
        }
        models.sort_by_key(|stored: &Stored| stored.hash);
        Ok(models)
    }

    /// Returns the model with this label, or whose hash begins with these digits (at least four, `0x` optional).
    pub fn get(&self, name: &str) -> Result<Stored, StoreError> {
        let digits = name.strip_prefix("0x").unwrap_or(name);
        let called = |stored: &Stored| {
            stored.label == name || (digits.len() >= 4 && stored.hash.to_string()[2..].starts_with(digits))
        };
        let mut found = self.list()?.into_iter().filter(called);
        match (found.next(), found.next()) {
            (None, _) => Err(StoreError::Unknown(name.to_owned())),
            (Some(stored), None) => Ok(stored),
            (Some(_), Some(_)) => Err(StoreError::Ambiguous(name.to_owned())),
        }
    }

    /// Removes a model. An engine that has it mapped keeps using it until it ends.
    pub fn remove(&self, stored: &Stored) -> Result<(), StoreError> {
        let (place, gone) = (
            self.dir(stored.hash),
            self.root.join(format!("{UNFINISHED}{}", stored.hash)),
        );
        let lock = File::open(&place).and_then(|lock| lock.lock().map(|()| lock));
        let _lock = lock.map_err(failed("remove", &place))?;
        // Renamed first, so that no other process finds half a model.
        fs::rename(&place, &gone).map_err(failed("remove", &place))?;
        clear(&gone).map_err(failed("remove", &gone))
    }

    /// Returns the directory of a model.
    pub fn dir(&self, hash: BlobHash) -> PathBuf {
        self.root.join(&hash.to_string()[2..])
    }

    /// Maps a stored model and loads its text side.
    pub fn model(&self, stored: &Stored) -> Result<(Model, Text), StoreError> {
        let dir = self.dir(stored.hash);
        let opened = Model::map(&dir).and_then(|model| Ok((Text::load(&dir, model.config())?, model)));
        opened
            .map(|(text, model)| (model, text))
            .map_err(|source| StoreError::Model { dir, source })
    }
}

/// Removes a directory; succeeds too if it is gone already.
fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// True if an open directory is still the one under this path.
fn is_at(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |open: &fs::Metadata, there: &fs::Metadata| (open.dev(), open.ino()) == (there.dev(), there.ino());
    matches!((open.metadata(), fs::metadata(path)), (Ok(open), Ok(there)) if same(&open, &there))
}

/// Copies a file, or shares its blocks; refuses a symbolic link.
fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut source = open(from).map_err(failed("read", from))?;
    let mut target = File::create_new(to).map_err(failed("create", to))?;
    #[cfg(target_os = "linux")]
    let shared = rustix::fs::ioctl_ficlone(&target, &source).is_ok();
    #[cfg(not(target_os = "linux"))]
    let shared = false;
    if !shared {
        io::copy(&mut source, &mut target).map_err(failed("write", to))?;
    }
    target.sync_all().map_err(failed("write", to))
}

fn describe(dir: &Path, name: String) -> Result<StoredFile, StoreError> {
    let path = dir.join(&name);
    let mut file = File::open(&path).map_err(failed("read", &path))?;
    let (mut hasher, mut bytes, mut buffer) = (blake3::Hasher::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed("read", &path))? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
    Ok(StoredFile {
        name,
        hash: BlobHash(*hasher.finalize().as_bytes()),
        bytes,
    })
}
