//! A source file during the import: opened without following links, and checked for changes at the end.

use std::{
    fs,
    io::{self, BufReader},
    os::unix::fs::{FileExt, OpenOptionsExt},
};

use rustix::fs::OFlags;

use super::{
    error::{At, FileFault, IngestError, RecordFault},
    lines::Lines,
    walk::{Found, fault},
};

/// Read size, in bytes.
pub(super) const BLOCK: usize = 1 << 20;

/// An open source file, with its metadata before reading.
pub(super) struct Open<'f> {
    pub(super) found: &'f Found,
    pub(super) file: fs::File,
    pub(super) before: fs::Metadata,
}

impl<'f> Open<'f> {
    pub(super) fn new(found: &'f Found) -> Result<Self, IngestError> {
        let unreadable = |error| fault(&found.path, FileFault::Unreadable, Some(error));
        // Since the listing, the file may have become a link or a pipe; neither is followed or waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).expect("flags of open fit an int");
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&found.path)
            .map_err(unreadable)?;
        let before = file.metadata().map_err(unreadable)?;
        if !before.is_file() {
            return Err(fault(&found.path, FileFault::NotAFile, None));
        }
        Ok(Self { found, file, before })
    }

    /// Fails if the file changed since it was opened.
    pub(super) fn unchanged(&self) -> Result<(), IngestError> {
        let now = self.file.metadata().map_err(|error| self.unreadable(error))?;
        let same = now.len() == self.before.len() && now.modified().ok() == self.before.modified().ok();
        if same {
            Ok(())
        } else {
            Err(self.fault(FileFault::Changed))
        }
    }

    pub(super) fn fault(&self, what: FileFault) -> IngestError {
        fault(&self.found.path, what, None)
    }

    pub(super) fn unreadable(&self, error: io::Error) -> IngestError {
        fault(&self.found.path, FileFault::Unreadable, Some(error))
    }

    pub(super) fn record(&self, at: At, fault: impl Into<RecordFault>) -> IngestError {
        IngestError::Record {
            file: self.found.path.display().to_string(),
            at,
            fault: fault.into(),
        }
    }

    pub(super) fn lines(&self, max: u64) -> Result<Lines<BufReader<fs::File>>, IngestError> {
        let file = self.file.try_clone().map_err(|error| self.unreadable(error))?;
        Ok(Lines::new(BufReader::with_capacity(BLOCK, file), max))
    }

    /// Calls `each` with the whole file, block by block.
    pub(super) fn blocks(&self, mut each: impl FnMut(&[u8]) -> Result<(), IngestError>) -> Result<(), IngestError> {
        let mut block = vec![0; BLOCK];
        let mut at = 0;
        loop {
            match self.file.read_at(&mut block, at) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    each(&block[..read])?;
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(self.unreadable(error)),
            }
        }
    }
}
