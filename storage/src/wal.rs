//! The consensus write-ahead log: what a validator signed at the current height, so that it never contradicts itself
//! after a restart.
//!
//! Two preallocated files alternate. A height starts in the file that does not hold the previous one, so no crash loses the
//! synced entries of the current height. A torn end was never synced and is cut off. A synced entry that is damaged is an
//! error: the validator must not sign.
//!
//! Entries are opaque; consensus defines them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::Height;

use crate::{
    disk::{Disk, File},
    journal::{self, Corrupt, Depth, Head, Header, Journal, JournalError, Scanned},
};

const NAMES: [&str; 2] = ["wal-0", "wal-1"];
const LEN: u64 = 4 << 20;
/// A height that writes more than this is stuck in a loop; an error is better than a full disk.
const LEN_MAX: u64 = 256 << 20;
/// Flag: the log was created at this height, so what the validator signed there before is unknown.
const FRESH: u32 = 1;
const ADVICE: &str = "do not sign: what this validator signed at this height is not known for certain. Run \
     `openledger chain repair`: it moves the journal aside, and the node then sits out one height";

/// The write-ahead log, open for the current height.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use protocol::Height;
/// use storage::{FaultDisk, Wal};
///
/// let disk = FaultDisk::new();
/// let (mut wal, _) = Wal::open_sized(Arc::new(disk.clone()), Path::new("wal"), 64 << 10).unwrap();
/// wal.start_height(Height(7)).unwrap();
/// wal.append(b"prevote").unwrap();
/// wal.sync().unwrap(); // Only now may the vote be sent.
/// disk.crash(1);
/// let (_, recovered) = Wal::open_sized(Arc::new(disk), Path::new("wal"), 64 << 10).unwrap();
/// assert_eq!(recovered.entries, [b"prevote"]);
/// ```
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Slot and file of the current height; `None` until the first [`Wal::start_height`] of a new log.
    current: Option<(usize, Journal)>,
    /// The file of the previous height, which the next height reuses.
    spare: Option<Journal>,
    len: u64,
}

/// The content of the log when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The current height; 0 for a new log.
    pub height: Height,
    /// The current height's entries in order. All of them are durable.
    pub entries: Vec<Vec<u8>>,
    /// True if there was no log before `height`; see [`Recovered::sits_out`].
    pub fresh: bool,
}

impl Recovered {
    /// Returns the height at which this validator must not sign, given the tip of its block log.
    ///
    /// If blocks exist that are older than the log, votes at the current height may have been lost with a previous log. A node
    /// without blocks has signed nothing.
    pub fn sits_out(&self, tip: Option<Height>) -> Option<Height> {
        match tip {
            Some(tip) if self.fresh && self.height == Height(0) => Some(tip.next()),
            Some(_) if self.fresh => Some(self.height),
            _ => None,
        }
    }
}

struct Found {
    file: Arc<dyn File>,
    path: PathBuf,
    header: Header,
}

impl Wal {
    /// Opens the log in `dir`, which need not exist.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, Recovered), JournalError> {
        Self::open_sized(disk, dir, LEN)
    }

    /// Opens the log with files of `len` bytes each. Simulations of many nodes use small ones.
    pub fn open_sized(disk: Arc<dyn Disk>, dir: &Path, len: u64) -> Result<(Self, Recovered), JournalError> {
        disk.create_dir(dir).map_err(JournalError::io("create", dir))?;
        let (mut found, broken) = Found::both(&*disk, dir)?;
        // A broken file beside a valid one was being initialised when the power failed: it held no entries yet.
        let slot = match (&found[0], &found[1]) {
            (Some(a), Some(b)) => usize::from(b.header.tag > a.header.tag),
            (Some(_), None) => 0,
            (None, Some(_)) => 1,
            (None, None) => {
                if let Some(file) = broken {
                    let what = "its header does not match its checksum";
                    return Err(Corrupt {
                        file,
                        offset: 0,
                        sequence: 0,
                        what,
                        advice: ADVICE,
                    }
                    .into());
                }
                let fresh = Recovered {
                    fresh: true,
                    ..Recovered::default()
                };
                return Ok((
                    Self {
                        disk,
                        dir: dir.to_owned(),
                        current: None,
                        spare: None,
                        len,
                    },
                    fresh,
                ));
            }
        };
        let latest = found[slot].take().expect("just seen");
        let mut entries = Vec::new();
        let current = latest.resume(|entry| entries.push(entry.to_vec()))?;
        let spare = found[1 - slot].take().map(Found::resume_empty).transpose()?;
        let recovered = Recovered {
            height: Height(current.header().tag),
            entries,
            fresh: current.header().flags & FRESH != 0,
        };
        Ok((
            Self {
                disk,
                dir: dir.to_owned(),
                current: Some((slot, current)),
                spare,
                len,
            },
            recovered,
        ))
    }

    /// Starts `height`, which must be above the current one, and discards the current entries.
    ///
    /// Call it only after the block of the previous height is durable.
    pub fn start_height(&mut self, height: Height) -> Result<(), JournalError> {
        let flags = if self.current.is_none() { FRESH } else { 0 };
        let header = Header {
            tag: height.0,
            first: 0,
            nonce: self.disk.nonce(),
            flags,
        };
        let Some((slot, mut current)) = self.current.take() else {
            self.current = Some((0, self.create(0, header)?));
            return Ok(());
        };
        assert!(current.header().tag < height.0, "heights are started in order");
        if current.next() == 0 && self.spare.is_some() {
            // Nothing was written at the previous height, as during sync. Reuse its file and leave the other one
            // intact.
            let restarted = current.restart(header);
            self.current = Some((slot, current));
            return restarted;
        }
        // One of the two files must have a valid header at all times.
        let synced = if current.is_dirty() { current.sync() } else { Ok(()) };
        let next = synced.and_then(|()| match self.spare.take() {
            Some(mut spare) => spare.restart(header).map(|()| spare),
            None => self.create(1 - slot, header),
        });
        match next {
            Ok(next) => {
                self.spare = Some(current);
                self.current = Some((1 - slot, next));
                Ok(())
            }
            Err(error) => {
                self.current = Some((slot, current));
                Err(error)
            }
        }
    }

    /// Appends an entry to the current height. It is durable after [`Wal::sync`].
    pub fn append(&mut self, entry: &[u8]) -> Result<(), JournalError> {
        let len = self.len;
        let journal = self.journal();
        while !journal.fits(entry.len()) && entry.len() <= journal::PAYLOAD_BYTES_MAX {
            let longer = journal.len() + len;
            if longer > LEN_MAX {
                return Err(JournalError::Full {
                    file: journal.path().to_owned(),
                    limit: LEN_MAX,
                });
            }
            journal.grow(longer)?;
        }
        journal.append(entry).map(|_| ())
    }

    /// Makes every entry so far durable. Only then may a signed message leave the node.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.current.as_mut().map_or(Ok(()), |(_, journal)| journal.sync())
    }

    /// Returns the current height; 0 before the first.
    pub fn height(&self) -> Height {
        Height(self.current.as_ref().map_or(0, |(_, journal)| journal.header().tag))
    }

    fn journal(&mut self) -> &mut Journal {
        &mut self
            .current
            .as_mut()
            .expect("`start_height` comes before the first entry")
            .1
    }

    fn create(&self, slot: usize, header: Header) -> Result<Journal, JournalError> {
        let path = self.dir.join(NAMES[slot]);
        // A file without a valid header is left over from a creation, or a change of height, that a crash interrupted.
        match self.disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(JournalError::io("remove", &path)(error)),
            _ => Journal::create(&*self.disk, &path, header, self.len),
        }
    }
}

impl Found {
    /// Opens both files. Returns those with a valid header, and the path of one whose header is broken, if any.
    fn both(disk: &dyn Disk, dir: &Path) -> Result<([Option<Self>; 2], Option<PathBuf>), JournalError> {
        let (mut found, mut broken) = ([None, None], None);
        for (slot, name) in NAMES.iter().enumerate() {
            let path = dir.join(name);
            let file = match disk.open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                file => file.map_err(JournalError::io("open", &path))?,
            };
            match journal::head(&*file, &path)? {
                Head::Valid(header) => found[slot] = Some(Self { file, path, header }),
                Head::Blank => (),
                Head::Broken => broken = Some(path),
            }
        }
        Ok((found, broken))
    }

    fn resume(self, mut visit: impl FnMut(&[u8])) -> Result<Journal, JournalError> {
        let Self { file, path, header } = self;
        let scanned = journal::scan(&*file, &path, &header, Depth::Payloads, |_, _, entry| visit(entry))?;
        if scanned.damaged {
            let Scanned {
                end: offset,
                next: sequence,
                ..
            } = scanned;
            let what = "an entry that was synced does not match its checksum";
            return Err(Corrupt {
                file: path,
                offset,
                sequence,
                what,
                advice: ADVICE,
            }
            .into());
        }
        Journal::resume(file, &path, header, &scanned)
    }

    /// Opens the file of a finished height. Its entries do not matter, since it is rewritten from the start.
    fn resume_empty(self) -> Result<Journal, JournalError> {
        let Self { file, path, header } = self;
        let scanned = journal::scan(&*file, &path, &header, Depth::Frames, |_, _, _| ())?;
        Journal::resume(file, &path, header, &scanned)
    }
}

#[cfg(test)]
mod tests;
