//! The index on disk: one file of checksummed entries, each synced before it takes effect.
//!
//! A torn end never took effect and is cut off. A damaged entry before a valid one is an error: an unreadable pin must not
//! lead to a deleted blob. The file is rewritten when most of its entries are obsolete.

use std::{
    fs,
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::index::{Entry, Index};

const NAME: &str = "index.log";
const NEXT: &str = "index.log.next";
const MAGIC: &[u8; 8] = b"olblobs1";
/// Length and checksum.
const HEAD: usize = 8;
const FRAME_MAX: usize = 16 << 20;
/// Number of entries below which a rewrite is not worthwhile.
const REWRITE_FROM: usize = 1_000;

/// Error of opening or writing the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("could not {what} {}", file.display())]
    Io {
        /// The operation that failed.
        what: &'static str,
        file: PathBuf,
        source: io::Error,
    },
    /// Damage that no crash can explain.
    #[error(
        "{} is damaged at byte {at}, and what it says about the blobs to keep cannot be trusted; restore the file from \
         a copy, or move it away and pin again what is to stay before anything is collected", file.display()
    )]
    Damaged { file: PathBuf, at: usize },
}

/// The index and its file.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    file: fs::File,
    /// Bytes written and synced.
    len: u64,
    /// Entries in the file, obsolete ones included.
    count: usize,
    pub index: Index,
}

impl Log {
    pub(super) fn open(dir: &Path) -> Result<Self, IndexError> {
        let path = dir.join(NAME);
        let io = |what| {
            let file = path.clone();
            move |source| IndexError::Io { what, file, source }
        };
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open"))?;
        let bytes = fs::read(&path).map_err(io("read"))?;
        let scanned = scan(&bytes).map_err(|at| IndexError::Damaged { file: path.clone(), at })?;
        let len = scanned.len as u64;
        if len != bytes.len() as u64 {
            file.set_len(len).map_err(io("cut the torn end off"))?;
        }
        if len == 0 {
            file.write_all(MAGIC).map_err(io("begin"))?;
        }
        file.sync_all().map_err(io("sync"))?;
        sync_dir(dir).map_err(io("sync the directory of"))?;
        let mut log = Self {
            dir: dir.to_owned(),
            file,
            len: len.max(MAGIC.len() as u64),
            count: scanned.count,
            index: scanned.index,
        };
        log.compact()?;
        Ok(log)
    }

    /// Writes and syncs the entries that change something, then applies them. Blocks.
    pub(super) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) -> Result<(), IndexError> {
        let fresh: Vec<Entry> = entries.into_iter().filter(|entry| self.index.needs(entry)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        frame(&fresh, &mut bytes);
        let wrote = self
            .file
            .seek(SeekFrom::Start(self.len))
            .and_then(|_| self.file.write_all(&bytes))
            .and_then(|()| self.file.sync_data());
        if let Err(source) = wrote {
            // If this fails too, the next append overwrites the torn end, or the next open cuts it off.
            let _ = self.file.set_len(self.len);
            return Err(self.error("write", source));
        }
        self.len += bytes.len() as u64;
        self.count += fresh.len();
        fresh.into_iter().for_each(|entry| self.index.apply(entry));
        Ok(())
    }

    /// Rewrites the file if most entries are obsolete.
    fn compact(&mut self) -> Result<(), IndexError> {
        let live = self.index.entries();
        if self.count < REWRITE_FROM || self.count < 2 * live.len() {
            return Ok(());
        }
        let mut bytes = MAGIC.to_vec();
        live.chunks(64).for_each(|entries| frame(entries, &mut bytes));
        let next = self.dir.join(NEXT);
        let replaced = (|| {
            let mut file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&next)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&next, self.dir.join(NAME))?;
            sync_dir(&self.dir)?;
            Ok(file)
        })();
        self.file = replaced.map_err(|source| self.error("rewrite", source))?;
        self.len = bytes.len() as u64;
        self.count = live.len();
        Ok(())
    }

    fn error(&self, what: &'static str, source: io::Error) -> IndexError {
        let file = self.dir.join(NAME);
        IndexError::Io { what, file, source }
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// Encodes one append as one frame. A later frame proves that this one was synced.
fn frame(entries: &[Entry], to: &mut Vec<u8>) {
    let payload = protocol::codec::encode(&entries.to_vec());
    let len = u32::try_from(payload.len()).expect("a handful of entries, a few hundred bytes each");
    to.extend_from_slice(&len.to_be_bytes());
    to.extend_from_slice(&crc32fast::hash(&payload).to_be_bytes());
    to.extend_from_slice(&payload);
}

#[derive(Debug, Default)]
struct Scanned {
    index: Index,
    count: usize,
    len: usize,
}

/// Reads up to the end of the complete frames. The error is the offset of damage that no crash can explain.
fn scan(bytes: &[u8]) -> Result<Scanned, usize> {
    let mut scanned = Scanned::default();
    if !bytes.starts_with(MAGIC) {
        // Allocated zeros that were never written.
        let written = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        return if MAGIC.starts_with(&bytes[..written]) {
            Ok(scanned)
        } else {
            Err(0)
        };
    }
    scanned.len = MAGIC.len();
    while let Some((entries, used)) = parse(&bytes[scanned.len..]) {
        scanned.count += entries.len();
        scanned.len += used;
        entries.into_iter().for_each(|entry| scanned.index.apply(entry));
    }
    let rest = &bytes[scanned.len..];
    match (1..rest.len()).any(|at| parse(&rest[at..]).is_some()) {
        true => Err(scanned.len),
        false => Ok(scanned),
    }
}

fn parse(bytes: &[u8]) -> Option<(Vec<Entry>, usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let len = u32::from_be_bytes(*head.first_chunk()?) as usize;
    let sum = u32::from_be_bytes(*head.last_chunk()?);
    let payload = rest.get(..len).filter(|_| len > 0 && len <= FRAME_MAX)?;
    if crc32fast::hash(payload) != sum {
        return None;
    }
    let entries = protocol::codec::decode(payload, FRAME_MAX).ok()?;
    Some((entries, HEAD + len))
}

#[cfg(test)]
mod tests {
    use protocol::BlobHash;

    use super::*;
    use crate::blob::reason::{Content, Reason};

    fn pin(id: u8) -> Entry {
        Entry::Pin(Content::blob(BlobHash([id; 32])), Reason::User)
    }

    fn three() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a place for files");
        let mut log = Log::open(dir.path()).expect("new");
        (1..=3).for_each(|id| log.append([pin(id)]).expect("written"));
        let path = dir.path().join(NAME);
        (dir, path)
    }

    #[test]
    fn every_torn_end_opens_as_the_entries_that_were_synced_before_it() {
        let (dir, path) = three();
        let whole = fs::read(&path).expect("there");
        let each = (whole.len() - MAGIC.len()) / 3;
        for len in 0..=whole.len() {
            fs::write(&path, &whole[..len]).expect("cut");
            let log = Log::open(dir.path()).expect("a torn end is no damage");
            assert_eq!(
                log.index.kept.len(),
                len.saturating_sub(MAGIC.len()) / each,
                "cut at {len}"
            );
            fs::write(&path, [&whole[..len], &[0; 50]].concat()).expect("cut");
            Log::open(dir.path()).expect("zeros behind the end were allocated and never written");
        }
    }

    #[test]
    fn damage_before_a_valid_entry_is_an_error_with_the_file_name() {
        let (dir, path) = three();
        let whole = fs::read(&path).expect("there");
        let each = (whole.len() - MAGIC.len()) / 3;
        for at in 0..MAGIC.len() + 2 * each {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("damaged");
            let error = Log::open(dir.path())
                .expect_err("damage before a valid entry")
                .to_string();
            assert!(error.contains("index.log is damaged at byte"), "{error}");
        }
    }

    #[test]
    fn a_mostly_obsolete_file_is_rewritten_with_the_same_content() {
        let (dir, path) = three();
        let mut log = Log::open(dir.path()).expect("sound");
        let jobs = || (0..REWRITE_FROM).map(|id| Reason::Job(id.to_string()));
        log.append(jobs().map(|job| Entry::Pin(Content::blob(BlobHash([9; 32])), job)))
            .expect("written");
        log.append(jobs().map(|job| Entry::Unpin(BlobHash([9; 32]), job)))
            .expect("written");
        let (before, index) = (fs::metadata(&path).expect("there").len(), log.index.clone());
        drop(log);
        let log = Log::open(dir.path()).expect("sound");
        assert_eq!(log.index, index);
        assert!(fs::metadata(&path).expect("there").len() < before / 100);
    }
}
