//! Stored sketches of local datasets, one file each, so that duplicates are found on import without reading the
//! datasets.
//!
//! A file is written completely or not at all, and ends with its digest. It is a cache: a damaged file, or one of another
//! version, is reported, and the dataset's owner creates it again. All files together stay within a budget; near its end,
//! records are kept for exact comparison only, then not at all. Both are counted.
//!
//! Sketches of a permissioned dataset let a reader of this directory test whether a given text is in it. The directory is
//! therefore private, and sketches are never sent to other nodes.

use std::{
    fs,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use bincode::{Decode, Encode};
use protocol::{
    BlobHash, DatanetId, codec,
    duplicate::{ENTRY_MAX, Entry, Sketch},
};

const MAGIC: &[u8; 8] = b"OLSKTCH1";
/// Longest encoded summary, in bytes.
const HEADER_MAX: usize = 4096;
/// Default budget for all files together, in bytes.
const BUDGET: u64 = 1 << 30;

/// The header of a sketch file. Field order is the encoding order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SketchHeader {
    /// The dataset.
    pub root: BlobHash,
    pub name: String,
    /// The datanet that it was made for.
    pub datanet: Option<DatanetId>,
    /// The previous version.
    pub previous: Option<BlobHash>,
    /// When this node first knew the dataset, in milliseconds since 1970. The age that the creator states has no
    /// effect.
    pub since_ms: u64,
    /// Records in the dataset.
    pub records: u64,
    /// Records in this file.
    pub kept: u64,
    /// Records in this file without shingles, for lack of space.
    pub exact_only: u64,
}

/// Error of reading or writing sketches.
#[derive(Debug, thiserror::Error)]
pub enum SketchError {
    #[error("could not {verb} {}", path.display())]
    Io {
        /// The operation that failed.
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is not as it was written.
    #[error("{} is damaged ({what}); it is made again from its dataset", path.display())]
    Damaged {
        path: PathBuf,
        /// The damage.
        what: &'static str,
    },
}

/// A directory of sketch files.
#[derive(Clone, Debug)]
pub struct Sketches {
    dir: PathBuf,
    budget: u64,
}

impl Sketches {
    /// Opens or creates the directory with mode 0700, and removes partial files.
    pub fn open(dir: &Path) -> Result<Self, SketchError> {
        let failed = |source| failed("make", dir, source);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|end| end == "part") {
                fs::remove_file(path).map_err(failed)?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            budget: BUDGET,
        })
    }

    /// Returns the same directory with another budget, in bytes.
    pub fn with_budget(self, budget: u64) -> Self {
        Self { budget, ..self }
    }

    fn path(&self, root: BlobHash) -> PathBuf {
        self.dir.join(&root.to_string()[2..])
    }

    /// Returns the datasets that have a sketch file.
    pub fn roots(&self) -> Result<Vec<BlobHash>, SketchError> {
        let failed = |source| failed("read", &self.dir, source);
        let mut roots = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            roots.extend(
                name.to_str()
                    .and_then(|name| format!("0x{name}").parse::<BlobHash>().ok()),
            );
        }
        roots.sort();
        Ok(roots)
    }

    /// Returns the header of a dataset's file, or `None` without a file.
    pub fn header(&self, root: BlobHash) -> Result<Option<SketchHeader>, SketchError> {
        match self.begin(root)? {
            Some((header, _)) => Ok(Some(header)),
            None => Ok(None),
        }
    }

    /// Stores the sketches of a dataset, as many as the budget allows. Durable on return. Returns the header as
    /// written.
    pub fn put(&self, header: SketchHeader, entries: &[Entry]) -> Result<SketchHeader, SketchError> {
        let path = self.path(header.root);
        let room = self.budget.saturating_sub(self.used_by_others(&path)?);
        let (header, plan) = plan(header, entries, room);
        let part = path.with_extension("part");
        let failed = |source| failed("write", &part, source);
        let options = || {
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&part)
        };
        let mut out = Hashing {
            to: BufWriter::new(options().map_err(failed)?),
            hasher: blake3::Hasher::new(),
        };
        let written = out.head(&header).and_then(|()| {
            for (entry, whole) in entries.iter().zip(plan) {
                match whole {
                    true => out.write_all(&entry.encode())?,
                    false => out.write_all(&exact(entry).encode())?,
                }
            }
            let digest = out.hasher.finalize();
            out.to.write_all(digest.as_bytes())?;
            out.to.flush()?;
            out.to.get_ref().sync_all()?;
            fs::rename(&part, &path)?;
            fs::File::open(&self.dir)?.sync_all()
        });
        if let Err(error) = written {
            // Otherwise the next open removes it.
            drop(fs::remove_file(&part));
            return Err(failed(error));
        }
        Ok(header)
    }

    /// Removes a dataset's file, if there is one.
    pub fn forget(&self, root: BlobHash) -> Result<(), SketchError> {
        let path = self.path(root);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// Returns the records of a dataset for which `wanted` returns true. Returns nothing from a damaged file.
    pub fn pick(&self, root: BlobHash, mut wanted: impl FnMut(&Entry) -> bool) -> Result<Vec<Entry>, SketchError> {
        let path = self.path(root);
        let Some((header, mut from)) = self.begin(root)? else {
            return Ok(Vec::new());
        };
        let mut picked = Vec::new();
        for _ in 0..header.kept {
            let entry = from.entry(&path)?;
            if wanted(&entry) {
                picked.push(entry);
            }
        }
        let digest = *from.hasher.finalize().as_bytes();
        let mut said = [0; 32];
        from.from.read_exact(&mut said).map_err(|source| ended(&path, source))?;
        let more = from
            .from
            .read(&mut [0])
            .map_err(|source| failed("read", &path, source))?;
        if digest != said || more > 0 {
            let what = "its digest is another";
            return Err(SketchError::Damaged { path, what });
        }
        Ok(picked)
    }

    fn begin(&self, root: BlobHash) -> Result<Option<(SketchHeader, Reading)>, SketchError> {
        let path = self.path(root);
        let file = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| failed("read", &path, source))?,
        };
        let mut reading = Reading {
            from: BufReader::with_capacity(1 << 16, file),
            hasher: blake3::Hasher::new(),
        };
        let mut magic = [0; 8];
        reading.fill(&path, &mut magic)?;
        let damaged = |what| SketchError::Damaged {
            path: path.clone(),
            what,
        };
        if &magic != MAGIC {
            return Err(damaged("it is of another version"));
        }
        let bytes = reading.block(&path, HEADER_MAX)?;
        let header: SketchHeader =
            codec::decode(&bytes, HEADER_MAX).map_err(|_| damaged("its header cannot be read"))?;
        match header.root == root {
            true => Ok(Some((header, reading))),
            false => Err(damaged("it is of another dataset")),
        }
    }

    fn used_by_others(&self, path: &Path) -> Result<u64, SketchError> {
        let failed = |source| failed("read", &self.dir, source);
        let mut used = 0;
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path() != path {
                // A file removed meanwhile takes no space.
                used += entry.metadata().map_or(0, |about| about.len());
            }
        }
        Ok(used)
    }
}

/// Decides which records are kept, and which of them with their shingles. Every record is kept for exact comparison
/// before any is kept with shingles.
fn plan(header: SketchHeader, entries: &[Entry], room: u64) -> (SketchHeader, Vec<bool>) {
    let head = (MAGIC.len() + 4 + HEADER_MAX + 32) as u64;
    let least = |entry: &Entry| exact(entry).encode().len() as u64;
    let least = entries.first().map_or(0, least);
    let room = room.saturating_sub(head);
    let fit = room.checked_div(least).unwrap_or(0);
    let fit = usize::try_from(fit).unwrap_or(usize::MAX).min(entries.len());
    let mut left = room - least * fit as u64;
    let mut plan = Vec::with_capacity(fit);
    for entry in &entries[..fit] {
        let more = (entry.encode().len() as u64).saturating_sub(least);
        let whole = more <= left;
        left -= if whole { more } else { 0 };
        plan.push(whole);
    }
    let header = SketchHeader {
        kept: fit as u64,
        exact_only: plan.iter().filter(|whole| !**whole).count() as u64,
        ..header
    };
    (header, plan)
}

fn exact(entry: &Entry) -> Entry {
    Entry {
        sketch: Sketch::of_digest(entry.sketch.exact),
        ..*entry
    }
}

fn failed(verb: &'static str, path: &Path, source: io::Error) -> SketchError {
    SketchError::Io {
        verb,
        path: path.to_owned(),
        source,
    }
}

/// Returns the error of a failed read. An early end is damage; anything else is an I/O error.
fn ended(path: &Path, source: io::Error) -> SketchError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => SketchError::Damaged {
            path: path.to_owned(),
            what: "its end is missing",
        },
        _ => failed("read", path, source),
    }
}

struct Hashing {
    to: BufWriter<fs::File>,
    hasher: blake3::Hasher,
}

impl Hashing {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.to.write_all(bytes)
    }

    fn head(&mut self, header: &SketchHeader) -> io::Result<()> {
        let header = codec::encode(header);
        let length = u32::try_from(header.len()).map_err(io::Error::other)?;
        self.write_all(MAGIC)?;
        self.write_all(&length.to_be_bytes())?;
        self.write_all(&header)
    }
}

struct Reading {
    from: BufReader<fs::File>,
    hasher: blake3::Hasher,
}

impl Reading {
    fn fill(&mut self, path: &Path, into: &mut [u8]) -> Result<(), SketchError> {
        self.from.read_exact(into).map_err(|source| ended(path, source))?;
        self.hasher.update(into);
        Ok(())
    }

    /// Reads a length, then that many bytes.
    fn block(&mut self, path: &Path, most: usize) -> Result<Vec<u8>, SketchError> {
        let mut length = [0; 4];
        self.fill(path, &mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > most {
            let what = "a length in it is too long";
            return Err(SketchError::Damaged {
                path: path.to_owned(),
                what,
            });
        }
        let mut bytes = vec![0; length];
        self.fill(path, &mut bytes)?;
        Ok(bytes)
    }

    fn entry(&mut self, path: &Path) -> Result<Entry, SketchError> {
        let bytes = self.block(path, ENTRY_MAX)?;
        let entry: Option<Entry> = codec::decode(&bytes, ENTRY_MAX).ok();
        entry
            .filter(|entry| entry.sketch.is_well_formed())
            .ok_or_else(|| SketchError::Damaged {
                path: path.to_owned(),
                what: "a record in it cannot be read",
            })
    }
}
