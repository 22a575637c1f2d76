//! The block log: every final block, in order, from which everything else can be rebuilt.
//!
//! It consists of append-only, preallocated segments `blocks-NNNN.log`. An entry is opaque: a block with its certificate and
//! evidence. A synced block survives any crash; a torn one at the end is cut off; a damaged one anywhere else is an error
//! with its position, never a gap. Opening checks the frames of all segments and the payloads of the last; other payloads
//! are checked on every read.
//!
//! # Why not sled or another database
//!
//! This is the one thing that a node must not lose or misread; see the crate's front page. Blocks are written once, in
//! order, and read by height: a log needs no tree, no compaction and no recovery beyond finding its end.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use protocol::Height;

use crate::{
    disk::{Disk, File},
    journal::{self, Corrupt, Depth, FRAME_BYTES, Head, Header, Journal, JournalError, RECORDS_AT, Scanned},
};

/// The segment size and the first height of a log.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Size of a segment. A larger entry gets a segment of its own.
    pub segment_bytes: u64,
    /// Height of the first block of an empty log.
    pub first: Height,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            first: Height(1),
        }
    }
}

/// Error of appending a block.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Not the height after the tip.
    #[error("block {height} does not follow: the log waits for block {wanted}")]
    OutOfOrder { height: Height, wanted: Height },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

const ADVICE: &str =
    "this node must not sign. Run `openledger chain repair`: it cuts the log there and fetches the rest from peers";

/// The block log. It is shared: one thread appends, any number read.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use protocol::Height;
/// use storage::{BlockLog, FaultDisk, block_log::Layout};
///
/// let layout = Layout { segment_bytes: 64 << 10, ..Layout::default() };
/// let log = BlockLog::open(Arc::new(FaultDisk::new()), Path::new("blocks"), layout).unwrap();
/// log.append(Height(1), b"a block").unwrap();
/// log.sync().unwrap(); // Durable from here on.
/// assert_eq!(log.read(Height(1)).unwrap().as_deref(), Some(&b"a block"[..]));
/// assert!(log.append(Height(3), b"a gap").is_err());
/// ```
pub struct BlockLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    layout: Layout,
    writer: Mutex<Option<Journal>>,
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    segments: Vec<Segment>,
    /// Position of each block, by height from the first: the segment above bit 40, the offset below.
    positions: Vec<u64>,
}

struct Segment {
    file: Arc<dyn File>,
    path: PathBuf,
    header: Header,
}

const OFFSET_BITS: u32 = 40;

impl BlockLog {
    /// Opens the log in `dir`, which need not exist, and cuts off a torn end.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, layout: Layout) -> Result<Self, JournalError> {
        disk.create_dir(dir).map_err(JournalError::io("create", dir))?;
        let log = Self {
            disk,
            dir: dir.to_owned(),
            layout,
            writer: Mutex::new(None),
            index: RwLock::default(),
        };
        let mut paths = Self::segment_files(&*log.disk, dir)?;
        while let Some(path) = paths.last() {
            let file = log.disk.open(path).map_err(JournalError::io("open", path))?;
            if !matches!(journal::head(&*file, path)?, Head::Blank) {
                break;
            }
            // The crash came while this segment was created: it holds no block.
            remove(&*log.disk, path)?;
            paths.pop();
        }
        for (n, path) in paths.iter().enumerate() {
            log.open_segment(n, path, n + 1 == paths.len())?;
        }
        Ok(log)
    }

    /// Opens a log, checks every byte, and cuts it before the first damaged block. Returns that block's height, if
    /// any.
    pub fn repair(disk: Arc<dyn Disk>, dir: &Path, layout: Layout) -> Result<(Self, Option<Height>), JournalError> {
        let damage = match Self::open(disk.clone(), dir, layout) {
            Ok(log) => match log.first_damaged()? {
                Some(height) => {
                    log.truncate_from(height)?;
                    return Ok((log, Some(height)));
                }
                None => return Ok((log, None)),
            },
            Err(JournalError::Corrupt(damage)) => damage,
            Err(error) => return Err(error),
        };
        // Damage keeps the log from opening. Later segments are removed first, so that a crash meanwhile leaves a
        // shorter log, not a gap.
        let paths = Self::segment_files(&*disk, dir)?;
        for path in paths.iter().rev().take_while(|path| **path != damage.file) {
            remove(&*disk, path)?;
            disk.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
        }
        let mut cut = damage.sequence;
        let file = disk
            .open(&damage.file)
            .map_err(JournalError::io("open", &damage.file))?;
        match journal::head(&*file, &damage.file)? {
            Head::Valid(header) if damage.offset > 0 => {
                let scanned = journal::scan(&*file, &damage.file, &header, Depth::Payloads, |_, _, _| ())?;
                cut = cut.min(scanned.next);
                Journal::resume(file, &damage.file, header, &scanned)?;
            }
            _ => {
                remove(&*disk, &damage.file)?;
                disk.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
            }
        }
        let (log, earlier) = Self::repair(disk, dir, layout)?;
        Ok((log, Some(earlier.unwrap_or(Height(cut)))))
    }

    /// Appends the block after the tip. It is durable after [`BlockLog::sync`].
    pub fn append(&self, height: Height, entry: &[u8]) -> Result<(), AppendError> {
        let mut writer = self.writer();
        let wanted = writer
            .as_ref()
            .map_or(self.layout.first, |journal| Height(journal.next()));
        if height != wanted {
            return Err(AppendError::OutOfOrder { height, wanted });
        }
        if entry.is_empty() || entry.len() > journal::PAYLOAD_BYTES_MAX {
            return Err(JournalError::Length { bytes: entry.len() }.into());
        }
        if !writer.as_ref().is_some_and(|journal| journal.fits(entry.len())) {
            if let Some(full) = writer.as_mut() {
                // Only the last segment may have a torn end.
                full.sync()?;
            }
            *writer = Some(self.create_segment(height, entry.len())?);
        }
        let journal = writer.as_mut().expect("a segment with room was opened above");
        let at = journal.append(entry)?;
        let mut index = self.index_mut();
        let segment = index.segments.len() - 1;
        index.positions.push(position(segment, at));
        Ok(())
    }

    /// Makes every appended block durable.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.writer().as_mut().map_or(Ok(()), Journal::sync)
    }

    /// Returns the entry of a block, or `None` if the log does not have it.
    pub fn read(&self, height: Height) -> Result<Option<Vec<u8>>, JournalError> {
        let (file, path, header, at) = {
            let index = self.index();
            let Some((segment, at)) = index.find(height) else {
                return Ok(None);
            };
            (segment.file.clone(), segment.path.clone(), segment.header, at)
        };
        journal::read(&*file, &path, &header, at, height.0, ADVICE).map(Some)
    }

    /// Returns the height of the last appended block.
    pub fn tip(&self) -> Option<Height> {
        let index = self.index();
        let count = index.positions.len() as u64;
        (count > 0).then(|| Height(index.first().expect("a block lies in a segment") + count - 1))
    }

    /// Returns the height of the first block.
    pub fn first(&self) -> Option<Height> {
        let index = self.index();
        if index.positions.is_empty() {
            None
        } else {
            index.first().map(Height)
        }
    }

    /// Returns the height of the last durable block.
    pub fn synced_tip(&self) -> Option<Height> {
        let first = self.first()?;
        let synced = self.writer().as_ref()?.synced();
        (synced > first.0).then(|| Height(synced - 1))
    }

    /// Returns the blocks from `height` on, up to the tip at the time of each read.
    pub fn iter_from(&self, height: Height) -> impl Iterator<Item = Result<(Height, Vec<u8>), JournalError>> + '_ {
        (height.0..).map(Height).map_while(|height| match self.read(height) {
            Ok(entry) => entry.map(|entry| Ok((height, entry))),
            Err(error) => Some(Err(error)),
        })
    }

    /// Durably removes `height` and all later blocks.
    pub fn truncate_from(&self, height: Height) -> Result<(), JournalError> {
        let mut writer = self.writer();
        let mut index = self.index_mut();
        let Some(first) = index.first() else { return Ok(()) };
        while let Some(last) = index.segments.last().filter(|segment| segment.header.first >= height.0) {
            remove(&*self.disk, &last.path)?;
            self.disk
                .sync_dir(&self.dir)
                .map_err(JournalError::io("sync", &self.dir))?;
            index.segments.pop();
        }
        let kept = usize::try_from(height.0.saturating_sub(first))
            .unwrap_or(usize::MAX)
            .min(index.positions.len());
        let cut = index.positions.get(kept).copied();
        index.positions.truncate(kept);
        let Some(last) = index.segments.last() else {
            *writer = None;
            return Ok(());
        };
        let len = last.file.len().map_err(JournalError::io("measure", &last.path))?;
        // The cut lies in the last remaining segment, or exactly at its end.
        let until = match cut {
            Some(cut) if cut >> OFFSET_BITS == index.segments.len() as u64 - 1 => offset(cut),
            _ => journal::scan(&*last.file, &last.path, &last.header, Depth::Frames, |_, _, _| ())?.end,
        };
        let scanned = Scanned::cut(until, first + kept as u64, len);
        *writer = Some(Journal::resume(last.file.clone(), &last.path, last.header, &scanned)?);
        Ok(())
    }

    /// Returns the first block whose payload is damaged.
    fn first_damaged(&self) -> Result<Option<Height>, JournalError> {
        let Some(first) = self.first() else { return Ok(None) };
        for entry in self.iter_from(first) {
            match entry {
                Ok(_) => (),
                Err(JournalError::Corrupt(damage)) => return Ok(Some(Height(damage.sequence))),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn open_segment(&self, n: usize, path: &Path, is_last: bool) -> Result<(), JournalError> {
        let mut index = self.index_mut();
        let next = index.first().map(|first| first + index.positions.len() as u64);
        let corrupt = |offset, sequence, what| Corrupt {
            file: path.to_owned(),
            offset,
            sequence,
            what,
            advice: ADVICE,
        };
        let expected = next.unwrap_or(self.layout.first.0);
        if path != self.segment_path(n) {
            return Err(corrupt(0, expected, "a segment before it is missing").into());
        }
        let file = self.disk.open(path).map_err(JournalError::io("open", path))?;
        let header = match journal::head(&*file, path)? {
            Head::Valid(header) => header,
            Head::Blank | Head::Broken => {
                return Err(corrupt(0, expected, "its header does not match its checksum").into());
            }
        };
        if next.is_some_and(|next| next != header.first) {
            return Err(corrupt(0, expected, "it does not continue the segment before it").into());
        }
        let depth = if is_last { Depth::Payloads } else { Depth::Frames };
        let positions = &mut index.positions;
        let scanned = journal::scan(&*file, path, &header, depth, |_, at, _| positions.push(position(n, at)))?;
        if scanned.damaged {
            return Err(corrupt(
                scanned.end,
                scanned.next,
                "a block that was synced does not match its checksum",
            )
            .into());
        }
        index.segments.push(Segment {
            file: file.clone(),
            path: path.to_owned(),
            header,
        });
        if is_last {
            *self.writer() = Some(Journal::resume(file, path, header, &scanned)?);
        }
        Ok(())
    }

    fn create_segment(&self, first: Height, payload: usize) -> Result<Journal, JournalError> {
        let mut index = self.index_mut();
        let path = self.segment_path(index.segments.len());
        // Left over from an earlier attempt on a full disk.
        match self.disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError::io("remove", &path)(error));
            }
            _ => (),
        }
        let header = Header {
            tag: first.0,
            first: first.0,
            nonce: self.disk.nonce(),
            flags: 0,
        };
        let need = RECORDS_AT + 2 * FRAME_BYTES + payload as u64;
        let journal = Journal::create(&*self.disk, &path, header, need.max(self.layout.segment_bytes))?;
        index.segments.push(Segment {
            file: journal.file(),
            path,
            header,
        });
        Ok(journal)
    }

    fn segment_path(&self, n: usize) -> PathBuf {
        self.dir.join(format!("blocks-{n:04}.log"))
    }

    fn segment_files(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
        let mut files = disk.list(dir).map_err(JournalError::io("list", dir))?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        // Sort by number: from the ten-thousandth segment on, names are longer.
        files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        Ok(files)
    }

    fn writer(&self) -> MutexGuard<'_, Option<Journal>> {
        // A panic leaves the journal as consistent as a crash would.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn first(&self) -> Option<u64> {
        self.segments.first().map(|segment| segment.header.first)
    }

    fn find(&self, height: Height) -> Option<(&Segment, u64)> {
        let nth = usize::try_from(height.0.checked_sub(self.first()?)?).ok()?;
        let position = *self.positions.get(nth)?;
        let segment = usize::try_from(position >> OFFSET_BITS).expect("segments are counted in memory");
        Some((&self.segments[segment], offset(position)))
    }
}

fn position(segment: usize, at: u64) -> u64 {
    assert!(at >> OFFSET_BITS == 0, "a segment is far below a terabyte");
    (segment as u64) << OFFSET_BITS | at
}

fn offset(position: u64) -> u64 {
    position & ((1 << OFFSET_BITS) - 1)
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), JournalError> {
    disk.remove(path).map_err(JournalError::io("remove", path))
}

#[cfg(test)]
mod tests;
