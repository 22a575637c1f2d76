//! The stream of source files, read through its shards.

use std::{
    io::{self, Read},
    sync::Arc,
};

use protocol::{
    BlobHash,
    manifest::{Manifest, Shard, ShardKind},
};

use super::store::ShardSource;

/// The shards of one kind as one sequence of bytes.
pub(super) struct Stream {
    blobs: Arc<dyn ShardSource>,
    /// Each shard with its offset.
    shards: Vec<(u64, Shard)>,
    pub(super) bytes: u64,
}

impl Stream {
    pub(super) fn new(manifest: &Manifest, kind: ShardKind, blobs: Arc<dyn ShardSource>) -> Arc<Self> {
        let mut bytes = 0;
        let place = |shard: &Shard| {
            let begin = bytes;
            bytes += shard.bytes;
            (begin, *shard)
        };
        let shards = manifest.shards_of(kind).map(place).collect();
        Arc::new(Self { blobs, shards, bytes })
    }

    /// Returns each shard with its offset.
    pub(super) fn shards(&self) -> impl Iterator<Item = (u64, &Shard)> {
        self.shards.iter().map(|(begin, shard)| (*begin, shard))
    }

    /// Returns the shard that contains `offset`.
    pub(super) fn shard_at(&self, offset: u64) -> Option<BlobHash> {
        let at = self
            .shards
            .partition_point(|(begin, _)| *begin <= offset)
            .checked_sub(1)?;
        Some(self.shards[at].1.hash)
    }

    /// Returns a reader of `bytes` bytes from `offset`; fewer at the end of the stream.
    pub(super) fn reader(self: Arc<Self>, offset: u64, bytes: u64) -> StreamReader {
        let end = offset.saturating_add(bytes).min(self.bytes);
        StreamReader {
            stream: self,
            at: offset.min(end),
            end,
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let Some(at) = self
            .shards
            .partition_point(|(begin, _)| *begin <= offset)
            .checked_sub(1)
        else {
            return Ok(0);
        };
        let (begin, shard) = &self.shards[at];
        let within = offset - begin;
        let left = usize::try_from(shard.bytes.saturating_sub(within)).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        match self.blobs.read_at(&shard.hash, within, &mut into[..wanted])? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "shard {} ends before the {} bytes that the manifest says",
                    shard.hash, shard.bytes
                ),
            )),
            read => Ok(read),
        }
    }
}

/// A reader of a range of the stream.
pub(super) struct StreamReader {
    stream: Arc<Stream>,
    at: u64,
    end: u64,
}

impl Read for StreamReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let read = self.stream.read_at(self.at, &mut into[..wanted])?;
        self.at += read as u64;
        Ok(read)
    }
}
