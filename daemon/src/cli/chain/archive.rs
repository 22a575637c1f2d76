//! Read-only access to the block log of a home, also while a node writes to it.
//!
//! Opening a log normally truncates a torn entry at its end. A reading command must not do that, so the log is opened on
//! a disk that ignores writes, and ends for the reader after its last whole block.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_primitives::B256;
use anyhow::Context as _;
use evm::block::{self, ChainBlock};
use protocol::{
    BlockHash, Height, codec,
    message::chain::{BODY_MAX, Entry},
};
use storage::{BlockLog, Disk, JournalError, RealDisk, block_log::Layout, disk::File};

use crate::cli::exit::{Exit, ended};
use base::home::Home;

/// Attempts to open a log that is being written: a later attempt finds the entry whole that an earlier one saw in part.
const TRIES: usize = 3;

/// The block log of a home.
pub(crate) struct Archive {
    log: Option<BlockLog>,
}

impl Archive {
    /// Opens the log; a home without one has no blocks.
    pub(crate) fn open(home: &Home) -> anyhow::Result<Self> {
        if !home.blocks().is_dir() {
            return Ok(Self { log: None });
        }
        let mut last = None;
        for _ in 0..TRIES {
            match BlockLog::open(Arc::new(ReadOnly), &home.blocks(), Layout::default()) {
                Ok(log) => return Ok(Self { log: Some(log) }),
                Err(error) => last = Some(error),
            }
        }
        Err(damaged(last.expect("it was tried")))
    }

    /// The height of the last block.
    pub(crate) fn tip(&self) -> Option<Height> {
        self.log.as_ref().and_then(BlockLog::tip)
    }

    /// Reads a block with its certificate and evidence.
    pub(crate) fn entry(&self, height: Height) -> anyhow::Result<Option<(Entry, ChainBlock)>> {
        let Some(log) = &self.log else { return Ok(None) };
        let Some(bytes) = log.read(height).map_err(damaged)? else {
            return Ok(None);
        };
        let unread = || {
            ended(
                Exit::Unverified,
                format!("block {height} of the block log is damaged; stop the node and run `openledger chain repair`"),
            )
        };
        let entry: Entry = codec::decode(&bytes, BODY_MAX).with_context(unread)?;
        let block = block::decode(&entry.block).with_context(unread)?;
        Ok(Some((entry, block)))
    }

    /// Iterates over the blocks from the last to the first.
    pub(crate) fn backwards(&self) -> impl Iterator<Item = anyhow::Result<(Entry, ChainBlock)>> + '_ {
        let tip = self.tip().map_or(0, |tip| tip.0);
        (1..=tip)
            .rev()
            .filter_map(|height| self.entry(Height(height)).transpose())
    }

    /// The parent hash of the first block, which is the hash of genesis.
    pub(crate) fn first_parent(&self) -> anyhow::Result<Option<BlockHash>> {
        let first = self.entry(Height(1))?;
        Ok(first.map(|(_, block)| BlockHash(block.header.parent_hash.0)))
    }

    /// Finds a block by its hash, searching from the end.
    pub(crate) fn find(&self, hash: B256) -> anyhow::Result<Option<(Entry, ChainBlock)>> {
        self.backwards()
            .find(|found| {
                found
                    .as_ref()
                    .map_or(true, |(entry, _)| entry.certificate.block.0 == hash.0)
            })
            .transpose()
    }
}

fn damaged(error: JournalError) -> anyhow::Error {
    let exit = match &error {
        JournalError::Corrupt(_) => Exit::Unverified,
        _ => Exit::Failed,
    };
    anyhow::Error::new(error).context(ended(exit, "could not read the block log"))
}

/// A disk that ignores writes and reports success for them. Creating a file is an error.
struct ReadOnly;

struct ReadOnlyFile(std::fs::File);

impl Disk for ReadOnly {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(ReadOnlyFile(std::fs::File::open(path)?)))
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn nonce(&self) -> u64 {
        0
    }
}

impl File for ReadOnlyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        File::read_at(&self.0, buf, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        File::len(&self.0)
    }

    fn preallocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_log_is_read_while_another_writes_and_not_a_byte_of_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        assert_eq!(Archive::open(&home).unwrap().tip(), None);
        let layout = Layout {
            segment_bytes: 1 << 16,
            ..Layout::default()
        };
        let writer = BlockLog::open(Arc::new(RealDisk), &home.blocks(), layout).unwrap();
        for height in 1..=3 {
            writer.append(Height(height), &[7; 100]).unwrap();
        }
        writer.sync().unwrap();
        // Appended and not synced: what a crash may tear.
        writer.append(Height(4), &[8; 100]).unwrap();
        let segments = RealDisk.list(&home.blocks()).unwrap();
        let before: Vec<_> = segments.iter().map(|path| fs::read(path).unwrap()).collect();
        let archive = Archive::open(&home).unwrap();
        assert!(archive.tip() >= Some(Height(3)));
        let after: Vec<_> = segments.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(before == after);
        // What lies there is no block, and that is said with the way out.
        let why = archive.entry(Height(1)).unwrap_err();
        assert_eq!(Exit::of(&why), Exit::Unverified);
        assert!(why.to_string().contains("openledger chain repair"), "{why}");
    }
}
