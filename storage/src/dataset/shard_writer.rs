//! Cuts the stream of source files into shards, and writes record and source shards beside them.

use std::{
    io,
    path::{Path, PathBuf},
};

use protocol::{
    BlobHash,
    manifest::{RECORD_ROW_BYTES, RecordRow, Shard, ShardKind, Source, SourceKind, record_digest},
};

use super::{error::IngestError, store::ShardSink};

/// The shards of a dataset under construction. At most one shard of each kind is in memory.
pub(super) struct ShardWriter<'a> {
    sink: &'a mut dyn ShardSink,
    shard_bytes: usize,
    /// Bytes of source files so far.
    pub(super) end: u64,
    pub(super) records: u64,
    pub(super) files: u64,
    data: Pending,
    rows: Pending,
    sources: Pending,
    file: File,
    /// The file at whose start the pending data began, as long as the data is all from it.
    whole: Option<PathBuf>,
}

/// A shard under construction, and the finished ones of its kind.
struct Pending {
    kind: ShardKind,
    bytes: Vec<u8>,
    rows: u64,
    done: Vec<Shard>,
}

/// The source file being read.
struct File {
    begin: u64,
    first_record: u64,
    hasher: blake3::Hasher,
}

impl<'a> ShardWriter<'a> {
    pub(super) fn new(shard_bytes: u64, sink: &'a mut dyn ShardSink) -> Self {
        let pending = |kind| Pending {
            kind,
            bytes: Vec::new(),
            rows: 0,
            done: Vec::new(),
        };
        Self {
            sink,
            shard_bytes: usize::try_from(shard_bytes).expect("a shard fits in memory"),
            end: 0,
            records: 0,
            files: 0,
            data: pending(ShardKind::Data),
            rows: pending(ShardKind::Records),
            sources: pending(ShardKind::Sources),
            file: File {
                begin: 0,
                first_record: 0,
                hasher: blake3::Hasher::new(),
            },
            whole: None,
        }
    }

    /// Starts a source file. The following bytes belong to it.
    pub(super) fn begin_file(&mut self, path: &Path) {
        self.file = File {
            begin: self.end,
            first_record: self.records,
            hasher: blake3::Hasher::new(),
        };
        self.whole = self.data.bytes.is_empty().then(|| path.to_owned());
    }

    /// Starts a new shard if the next `bytes` bytes would otherwise be split between two.
    pub(super) fn keep_together(&mut self, bytes: u64) -> Result<(), IngestError> {
        let pending = self.data.bytes.len() as u64;
        if pending > 0 && bytes.saturating_add(pending) > self.shard_bytes as u64 {
            self.flush_data(false)?;
        }
        Ok(())
    }

    /// Appends bytes of the source file, cutting where a shard is full.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<(), IngestError> {
        self.file.hasher.update(bytes);
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.shard_bytes - self.data.bytes.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.data.bytes.extend_from_slice(now);
            bytes = later;
            if self.data.bytes.len() == self.shard_bytes && !bytes.is_empty() {
                self.flush_data(false)?;
            }
        }
        Ok(())
    }

    /// Appends a line or document; its record starts `skip` bytes into it.
    pub(super) fn append_record(&mut self, raw: &[u8], skip: usize, record: &[u8]) -> Result<[u8; 32], IngestError> {
        self.keep_together(raw.len() as u64)?;
        let digest = record_digest(record);
        self.append(&raw[..skip])?;
        self.keep_together(record.len() as u64)?;
        // Before the bytes, so that the record counts for the shard in which it starts.
        self.row(self.end, record.len() as u64, 0, digest)?;
        self.append(&raw[skip..])?;
        Ok(digest)
    }

    /// Adds the row of a record that starts in the pending shard.
    pub(super) fn row(&mut self, offset: u64, bytes: u64, row: u64, digest: [u8; 32]) -> Result<(), IngestError> {
        let row = RecordRow {
            offset,
            bytes,
            row,
            digest,
        };
        self.records += 1;
        self.data.rows += 1;
        let rows_max = self.shard_bytes as u64 / RECORD_ROW_BYTES;
        if self.rows.rows == rows_max {
            self.rows.flush(self.sink, None)?;
        }
        self.rows.rows += 1;
        self.rows.bytes.extend_from_slice(&row.encode());
        Ok(())
    }

    pub(super) fn file_records(&self) -> u64 {
        self.records - self.file.first_record
    }

    /// Ends the source file. Its bytes become a shard of their own if they are large and alone in it.
    pub(super) fn end_file(&mut self, name: &str, kind: SourceKind) -> Result<(), IngestError> {
        let source = Source {
            path: name.to_owned(),
            offset: self.file.begin,
            bytes: self.end - self.file.begin,
            records: self.file_records(),
            hash: BlobHash(*self.file.hasher.finalize().as_bytes()),
            kind,
        };
        let entry = source.encode();
        let held = self.sources.bytes.len();
        if held > 0 && held + entry.len() > self.shard_bytes {
            self.sources.flush(self.sink, None)?;
        }
        self.files += 1;
        self.sources.rows += 1;
        self.sources.bytes.extend_from_slice(&entry);
        // A large file ends its shard, so that the store can refer to the file instead of copying it.
        if self.whole.is_some() && self.data.bytes.len() >= self.shard_bytes / 2 {
            self.flush_data(true)?;
        }
        Ok(())
    }

    fn flush_data(&mut self, file_ended: bool) -> Result<(), IngestError> {
        let whole = self.whole.take().filter(|_| file_ended);
        self.data.flush(self.sink, whole.as_deref())
    }

    /// Stores what is pending. Returns the shards in the order of a manifest, and the sink.
    pub(super) fn finish(mut self) -> Result<(Vec<Shard>, &'a mut dyn ShardSink), IngestError> {
        let ended = self.whole.is_some();
        self.flush_data(ended)?;
        self.rows.flush(self.sink, None)?;
        self.sources.flush(self.sink, None)?;
        let shards = [self.data.done, self.rows.done, self.sources.done].concat();
        Ok((shards, self.sink))
    }
}

impl Pending {
    fn flush(&mut self, sink: &mut dyn ShardSink, whole: Option<&Path>) -> Result<(), IngestError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let hash = put(sink, &self.bytes, whole)?;
        self.done.push(Shard {
            hash,
            bytes: self.bytes.len() as u64,
            rows: self.rows,
            kind: self.kind,
        });
        self.bytes.clear();
        self.rows = 0;
        Ok(())
    }
}

/// Hashes a blob and stores it.
pub(super) fn put(sink: &mut dyn ShardSink, bytes: &[u8], whole: Option<&Path>) -> Result<BlobHash, IngestError> {
    let hash = BlobHash(*blake3::hash(bytes).as_bytes());
    let stored: io::Result<()> = sink.put(hash, bytes, whole);
    match stored {
        Ok(()) => Ok(hash),
        Err(source) => Err(IngestError::Sink {
            bytes: bytes.len() as u64,
            source,
        }),
    }
}
