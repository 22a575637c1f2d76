//! A list of small records, each durable once it was added: what deals, datanets and waiting transactions are kept in.
//!
//! A folder holds one file, `records.log`, which grows in steps. A record is opaque here. One whose [`RecordLog::append`]
//! returned is there after any crash; a torn one at the end was promised to nobody and is cut off; a damaged one anywhere
//! else is an error that says where and what to do, and never a gap. [`RecordLog::rewrite`] forgets records: it copies the
//! others to a second file, which takes the name of the first in one step, so a crash leaves either list and never a mix.
//!
//! Left out: numbers that a caller chooses and reading from the middle, which the block log has.

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
/// A list that is not complete yet; what a crash leaves of it is nobody's.
const NEW_FILE: &str = "records.new";
/// Segments of the block log, in which an earlier version kept such lists.
const OLD_FILES: &str = "blocks-";
/// In the header, so that a segment of the block log under this name does not pass for a list.
const TAG: u64 = u64::from_le_bytes(*b"records1");

/// How a list is laid out, and what somebody does when it is damaged.
#[derive(Debug, Clone, Copy)]
pub struct RecordLayout {
    /// By how much the file grows when it is full; also its first size.
    pub step_bytes: u64,
    /// The end of a sentence that begins with what is damaged: what to do about it.
    pub advice: &'static str,
}

/// The list, open for appending.
pub struct RecordLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    layout: RecordLayout,
    /// None until the first record.
    journal: Option<Journal>,
    /// Where each record lies that was acknowledged.
    places: Vec<u64>,
    /// Bytes of those records.
    bytes: u64,
    /// A change did not go through: what the disk holds beyond `places`, and under which name, is not known.
    failed: bool,
}

impl RecordLog {
    /// Opens the list in `dir`, which need not exist, and cuts off what was never acknowledged.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, layout: RecordLayout) -> Result<Self, JournalError> {
        Self::open_or(disk, dir, layout, |damage| Err(damage.into()))
    }

    /// Opens the list and, if it is damaged, cuts it before the first record that does not read back: for records whose
    /// loss is repaired by those who sent them. Says what was damaged, if anything.
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

    /// Adds records in order; all are durable when this returns.
    ///
    /// After an error each of them may or may not be there after a restart. A disk that was full takes records again when
    /// it has space; after a write that failed, the next call first copies what was acknowledged to a new file.
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
        // A full disk refuses here, before anything was written.
        let frames = usize::try_from(FRAME_BYTES).expect("small") * (records.len() - 1);
        make_room(journal, lengths().sum::<usize>() + frames, self.layout.step_bytes)?;
        self.failed = true;
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            places.push(journal.append(record.as_ref())?);
        }
        journal.sync()?;
        self.failed = false;
        self.places.extend(places);
        self.bytes += lengths().sum::<usize>() as u64;
        Ok(())
    }

    /// The records in the order they were added. One that went bad since the list was opened is an error.
    pub fn iter(&self) -> impl Iterator<Item = Result<Vec<u8>, JournalError>> + '_ {
        self.places.iter().zip(0..).map(|(&at, sequence)| {
            let journal = self.journal.as_ref().expect("a record lies in a file");
            let (file, header) = (journal.file(), journal.header());
            journal::read(&*file, journal.path(), &header, at, sequence, self.layout.advice)
        })
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of its records together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets, durably, the records for which `keep` is false. After an error all are still there.
    pub fn rewrite(&mut self, mut keep: impl FnMut(&[u8]) -> bool) -> Result<(), JournalError> {
        let (path, new_path) = (self.dir.join(FILE), self.dir.join(NEW_FILE));
        remove_if_there(&*self.disk, &new_path)?;
        let header = Header {
            tag: TAG,
            first: 0,
            nonce: self.disk.nonce(),
            flags: 0,
        };
        let mut journal = Journal::create(&*self.disk, &new_path, header, self.layout.step_bytes)?;
        let (mut places, mut bytes) = (Vec::new(), 0);
        for record in self.iter() {
            let record = record?;
            if keep(&record) {
                make_room(&mut journal, record.len(), self.layout.step_bytes)?;
                places.push(journal.append(&record)?);
                bytes += record.len() as u64;
            }
        }
        journal.sync()?;
        // From here on a crash may leave the name with either file. Until it is known with which, nothing is appended.
        self.failed = true;
        journal.rename(&*self.disk, &path)?;
        (self.journal, self.places, self.bytes) = (Some(journal), places, bytes);
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
        remove_if_there(&*disk, &dir.join(NEW_FILE))?;
        let mut log = Self {
            disk,
            dir: dir.to_owned(),
            layout,
            journal: None,
            places: Vec::new(),
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
            // A file gets this name when it is whole: no crash leaves one that is blank.
            Head::Valid(_) | Head::Blank | Head::Broken => {
                on_damage(corrupt(0, 0, "its header is not that of a list of records"))?;
                log.disk.remove(&path).map_err(JournalError::io("remove", &path))?;
                log.disk.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
                return Ok(log);
            }
        };
        let scanned = journal::scan(&*file, &path, &header, Depth::Payloads, |_, at, record| {
            log.places.push(at);
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

/// Fails if `dir` holds a list as an earlier version kept it: what was acknowledged must not vanish without a word.
pub fn refuse_earlier_format(disk: &dyn Disk, dir: &Path, advice: &'static str) -> Result<(), JournalError> {
    let files = disk.list(dir).map_err(JournalError::io("list", dir))?;
    let old = files.into_iter().find(|file| {
        let name = file.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(OLD_FILES)
    });
    old.map_or(Ok(()), |file| Err(JournalError::EarlierFormat { file, advice }))
}

fn make_room(journal: &mut Journal, payload: usize, step_bytes: u64) -> Result<(), JournalError> {
    if journal.fits(payload) {
        return Ok(());
    }
    let need = payload as u64 + 2 * FRAME_BYTES;
    journal.grow(journal.len() + need.max(step_bytes))
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), JournalError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(JournalError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
