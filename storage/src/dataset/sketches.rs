//! What is known of the records of datasets that are here: a file of sketches for each, so that a copy is found when it is
//! added and nothing is read or computed a second time.
//!
//! A file is written whole or not at all, and its digest is behind it. It is a cache: one that is damaged, or of another
//! version, is said to be so, and whoever has the dataset makes it again. All files together take no more than a budget;
//! near the end of it records are kept for exact comparison only, and at the end not at all. Both are counted.
//!
//! Sketches of a sealed dataset tell whoever reads this folder whether a text that he has is in it, so the folder is
//! private. They are never sent to anybody.

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
/// Longest encoded card.
const CARD_MAX: usize = 4096;
/// What all files may take together if nobody says otherwise.
const BUDGET: u64 = 1 << 30;

/// What a file of sketches says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Card {
    /// The dataset.
    pub root: BlobHash,
    /// What people call it.
    pub name: String,
    /// The datanet it was made for.
    pub datanet: Option<DatanetId>,
    /// The version before.
    pub previous: Option<BlobHash>,
    /// When this node first knew it, in milliseconds since 1970. What its maker says of its age decides nothing.
    pub since_ms: u64,
    /// Records of the dataset.
    pub records: u64,
    /// Those that are kept here.
    pub kept: u64,
    /// Of those, the ones that are compared exactly only because there was no more room.
    pub exact_only: u64,
}

/// Why sketches cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SketchError {
    /// The disk did not take or give them.
    #[error("could not {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// They are not what was written.
    #[error("{} is damaged ({what}); it is made again from its dataset", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A folder of sketches.
#[derive(Clone, Debug)]
pub struct Sketches {
    dir: PathBuf,
    budget: u64,
}

impl Sketches {
    /// The folder `dir`, which is made if it is not there. What a kill left half written is cleared.
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

    /// The same folder with another budget in bytes.
    pub fn with_budget(self, budget: u64) -> Self {
        Self { budget, ..self }
    }

    fn path(&self, root: BlobHash) -> PathBuf {
        self.dir.join(&root.to_string()[2..])
    }

    /// The datasets whose sketches are here.
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

    /// What the sketches of a dataset say of themselves; none if there are none.
    pub fn card(&self, root: BlobHash) -> Result<Option<Card>, SketchError> {
        match self.begin(root)? {
            Some((card, _)) => Ok(Some(card)),
            None => Ok(None),
        }
    }

    /// Remembers the records of a dataset, as many as there is room for. On disk when this returns.
    pub fn put(&self, card: Card, entries: &[Entry]) -> Result<Card, SketchError> {
        let path = self.path(card.root);
        let room = self.budget.saturating_sub(self.used_beside(&path)?);
        let (card, plan) = plan(card, entries, room);
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
        let written = out.head(&card).and_then(|()| {
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
            // The next opening clears it otherwise.
            drop(fs::remove_file(&part));
            return Err(failed(error));
        }
        Ok(card)
    }

    /// Forgets a dataset.
    pub fn forget(&self, root: BlobHash) -> Result<(), SketchError> {
        let path = self.path(root);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// The records of a dataset that `wanted` picks, each as it is read. Nothing that a damaged file said is given.
    pub fn pick(&self, root: BlobHash, mut wanted: impl FnMut(&Entry) -> bool) -> Result<Vec<Entry>, SketchError> {
        let path = self.path(root);
        let Some((card, mut from)) = self.begin(root)? else {
            return Ok(Vec::new());
        };
        let mut picked = Vec::new();
        for _ in 0..card.kept {
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

    fn begin(&self, root: BlobHash) -> Result<Option<(Card, Reading)>, SketchError> {
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
        let bytes = reading.block(&path, CARD_MAX)?;
        let card: Card = codec::decode(&bytes, CARD_MAX).map_err(|_| damaged("its card cannot be read"))?;
        match card.root == root {
            true => Ok(Some((card, reading))),
            false => Err(damaged("it is of another dataset")),
        }
    }

    fn used_beside(&self, path: &Path) -> Result<u64, SketchError> {
        let failed = |source| failed("read", &self.dir, source);
        let mut used = 0;
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path() != path {
                // One that was removed meanwhile takes nothing.
                used += entry.metadata().map_or(0, |about| about.len());
            }
        }
        Ok(used)
    }
}

/// Which records are kept, and whether whole: none is left out while there is room to compare it exactly.
fn plan(card: Card, entries: &[Entry], room: u64) -> (Card, Vec<bool>) {
    let head = (MAGIC.len() + 4 + CARD_MAX + 32) as u64;
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
    let card = Card {
        kept: fit as u64,
        exact_only: plan.iter().filter(|whole| !**whole).count() as u64,
        ..card
    };
    (card, plan)
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

/// A file that ends too early is damaged; anything else is the disk's.
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

    fn head(&mut self, card: &Card) -> io::Result<()> {
        let card = codec::encode(card);
        let length = u32::try_from(card.len()).map_err(io::Error::other)?;
        self.write_all(MAGIC)?;
        self.write_all(&length.to_be_bytes())?;
        self.write_all(&card)
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

    /// What stands behind its length.
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
