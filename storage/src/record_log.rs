//! A durable list of small records: deals, datanets, pending transactions.
//!
//! A directory holds one file, `records.log`, which grows in steps. Records are opaque bytes. A record whose
//! [`RecordLog::append`] returned survives any crash; a torn one at the end was never acknowledged and is cut off; a damaged
//! one anywhere else is an error with position and advice, never a gap. [`RecordLog::rewrite`] removes records: it copies the
//! others to a second file and renames that over the first, so a crash leaves the old list or the new one.
//!
//! Caller-chosen numbers and random access are left out; the block log has both.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    disk::Disk,
    journal::{self, Corrupt, Depth, FRAME_BYTES, Head, Header, Journal, JournalError},
};

const FILE: &str = "records.log";
/// An incomplete rewrite. Removed on opening.
const NEW_FILE: &str = "records.new";
/// Name prefix of block-log segments, in which an earlier version kept such lists.
const OLD_FILES: &str = "blocks-";
/// In the header, so that a block-log segment under this name is not taken for a list.
const TAG: u64 = u64::from_le_bytes(*b"records1");

/// The file's growth, and the advice for its error messages.
#[derive(Debug, Clone, Copy)]
pub struct RecordLayout {
    /// First size of the file, and its growth when full, in bytes.
    pub step_bytes: u64,
    /// Advice to the operator: the end of an error text about damage.
    pub advice: &'static str,
}

/// A durable list, open for appending.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use storage::{FaultDisk, RecordLog, record_log::RecordLayout};
///
/// let disk = FaultDisk::new();
/// let layout = RecordLayout { step_bytes: 64 << 10, advice: "restore a backup" };
/// let mut log = RecordLog::open(Arc::new(disk.clone()), Path::new("deals"), layout).unwrap();
/// log.append(&[b"one", b"two"]).unwrap();
/// disk.crash(1); // The power fails; both records were acknowledged.
/// let log = RecordLog::open(Arc::new(disk), Path::new("deals"), layout).unwrap();
/// assert_eq!(log.len(), 2);
/// ```
pub struct RecordLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    layout: RecordLayout,
    /// `None` until the first record.
    journal: Option<Journal>,
    /// Offsets of the acknowledged records.
    offsets: Vec<u64>,
    /// Total size of those records.
    bytes: u64,
    /// A change failed. Until a rewrite, it is unknown what the file holds beyond `offsets`, and under which name it
    /// is.
    failed: bool,
}

impl RecordLog {
    /// Opens the list in `dir`, which need not exist, and cuts off a torn end.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, layout: RecordLayout) -> Result<Self, JournalError> {
        Self::open_or(disk, dir, layout, |damage| Err(damage.into()))
    }

    /// Opens the list and cuts it before the first damaged record, if any. For records that their senders will repeat.
    /// Returns the damage.
    pub fn open_undamaged_part(
        disk: Arc<dyn Disk>,
        dir: &Path,
        layout: RecordLayout,
    ) -> Result<(Self, Option<Corrupt>), JournalError> {
        let mut found = None;
        let log = Self::open_or(disk, dir, layout, |damage| {
            found = Some(damage);
            Ok(())
        })?;
        Ok((log, found))
    }

    /// Appends records in order; all are durable on return.
    ///
    /// After an error, each of them may or may not be there after a restart. A full disk accepts records again once it has
    /// space. After a failed write, the next call first copies the acknowledged records to a new file.
    pub fn append<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), JournalError> {
        let lengths = || records.iter().map(|record| record.as_ref().len());
        if let Some(bytes) = lengths().find(|&bytes| bytes == 0 || bytes > journal::PAYLOAD_BYTES_MAX) {
            return Err(JournalError::Length { bytes });
        }
        if records.is_empty() {
            return Ok(());
        }
        if self.failed || self.journal.is_none() {
            self.rewrite(|_| true)?;
        }
        let journal = self.journal.as_mut().expect("a rewrite makes one");
        // A full disk fails here, before anything is written.
        let frames = usize::try_from(FRAME_BYTES).expect("small") * (records.len() - 1);
        ensure_fits(journal, lengths().sum::<usize>() + frames, self.layout.step_bytes)?;
        self.failed = true;
        let mut offsets = Vec::with_capacity(records.len());
        for record in records {
            offsets.push(journal.append(record.as_ref())?);
        }
        journal.sync()?;
        self.failed = false;
        self.offsets.extend(offsets);
        self.bytes += lengths().sum::<usize>() as u64;
        Ok(())
    }

    /// Returns the records in order. A record damaged since opening is an error.
    pub fn iter(&self) -> impl Iterator<Item = Result<Vec<u8>, JournalError>> + '_ {
        self.offsets.iter().zip(0..).map(|(&at, sequence)| {
            let journal = self.journal.as_ref().expect("a record lies in a file");
            let (file, header) = (journal.file(), journal.header());
            journal::read(&*file, journal.path(), &header, at, sequence, self.layout.advice)
        })
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Returns true if the list has no records.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Returns the total size of the records, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Durably removes the records for which `keep` returns false. After an error all records remain.
    pub fn rewrite(&mut self, mut keep: impl FnMut(&[u8]) -> bool) -> Result<(), JournalError> {
        let (path, new_path) = (self.dir.join(FILE), self.dir.join(NEW_FILE));
        remove_if_present(&*self.disk, &new_path)?;
        let header = Header {
            tag: TAG,
            first: 0,
            nonce: self.disk.nonce(),
            flags: 0,
        };
        let mut journal = Journal::create(&*self.disk, &new_path, header, self.layout.step_bytes)?;
        let (mut offsets, mut bytes) = (Vec::new(), 0);
        for record in self.iter() {
            let record = record?;
            if keep(&record) {
                ensure_fits(&mut journal, record.len(), self.layout.step_bytes)?;
                offsets.push(journal.append(&record)?);
                bytes += record.len() as u64;
            }
        }
        journal.sync()?;
        // From here on, a crash may leave the name with either file. Nothing is appended until it is known which.
        self.failed = true;
        journal.rename(&*self.disk, &path)?;
        (self.journal, self.offsets, self.bytes) = (Some(journal), offsets, bytes);
        self.disk
            .sync_dir(&self.dir)
            .map_err(JournalError::io("sync", &self.dir))?;
        self.failed = false;
        Ok(())
    }

    fn open_or(
        disk: Arc<dyn Disk>,
        dir: &Path,
        layout: RecordLayout,
        mut on_damage: impl FnMut(Corrupt) -> Result<(), JournalError>,
    ) -> Result<Self, JournalError> {
        disk.create_dir(dir).map_err(JournalError::io("create", dir))?;
        refuse_earlier_format(&*disk, dir, layout.advice)?;
        remove_if_present(&*disk, &dir.join(NEW_FILE))?;
        let mut log = Self {
            disk,
            dir: dir.to_owned(),
            layout,
            journal: None,
            offsets: Vec::new(),
            bytes: 0,
            failed: false,
        };
        let path = dir.join(FILE);
        let file = match log.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(log),
            file => file.map_err(JournalError::io("open", &path))?,
        };
        let corrupt = |offset, sequence, what| Corrupt {
            file: path.clone(),
            offset,
            sequence,
            what,
            advice: layout.advice,
        };
        let header = match journal::head(&*file, &path)? {
            Head::Valid(header) if (header.tag, header.first) == (TAG, 0) => header,
            // A file gets this name when it is complete: no crash leaves a blank one.
            Head::Valid(_) | Head::Blank | Head::Broken => {
                on_damage(corrupt(0, 0, "its header is not that of a list of records"))?;
                log.disk.remove(&path).map_err(JournalError::io("remove", &path))?;
                log.disk.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
                return Ok(log);
            }
        };
        let scanned = journal::scan(&*file, &path, &header, Depth::Payloads, |_, at, record| {
            log.offsets.push(at);
            log.bytes += record.len() as u64;
        })?;
        if scanned.damaged {
            let what = "a record that was acknowledged does not match its checksum";
            on_damage(corrupt(scanned.end, scanned.next, what))?;
        }
        log.journal = Some(Journal::resume(file, &path, header, &scanned)?);
        Ok(log)
    }
}

/// Fails if `dir` holds a list in an earlier format: acknowledged records must not vanish silently.
pub fn refuse_earlier_format(disk: &dyn Disk, dir: &Path, advice: &'static str) -> Result<(), JournalError> {
    let files = disk.list(dir).map_err(JournalError::io("list", dir))?;
    let old = files.into_iter().find(|file| {
        let name = file.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(OLD_FILES)
    });
    old.map_or(Ok(()), |file| Err(JournalError::EarlierFormat { file, advice }))
}

fn ensure_fits(journal: &mut Journal, payload: usize, step_bytes: u64) -> Result<(), JournalError> {
    if journal.fits(payload) {
        return Ok(());
    }
    let need = payload as u64 + 2 * FRAME_BYTES;
    journal.grow(journal.len() + need.max(step_bytes))
}

fn remove_if_present(disk: &dyn Disk, path: &Path) -> Result<(), JournalError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(JournalError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
