//! A dataset whose shards are at hand: its source files, its records, and how it differs from another.

use std::{
    io::{self, BufReader, Read},
    sync::Arc,
};

use protocol::{
    BlobHash,
    manifest::{
        self, Diff, MANIFEST_MAX, Manifest, ManifestError, RecordRow, SHARD_MAX, ShardKind, Source, SourceKind,
        SourcesError, read_sources, record_digest,
    },
};

use super::{
    parquet::{Rows, Span},
    store::ShardSource,
    stream::{Stream, StreamReader},
};

/// Longest record that is read into memory.
const RECORD_READ_MAX: u64 = 1 << 30;
/// Longest source map that is read.
const SOURCES_MAX: u64 = 1 << 30;

/// Why a dataset cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A blob is missing or cannot be read.
    #[error("{kind} shard {hash} cannot be read; fetch the dataset again")]
    Blob {
        /// Which.
        hash: BlobHash,
        /// What it is to the dataset.
        kind: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A blob has other bytes than its name says.
    #[error(
        "{kind} shard {hash} is no longer what its name says: the file it refers to was changed, or its store is \
         damaged; restore that file, or fetch the shard from a peer"
    )]
    Changed {
        /// Which.
        hash: BlobHash,
        /// What it is to the dataset.
        kind: &'static str,
    },
    /// The manifest is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The source map is none.
    #[error("the source map of the dataset cannot be read")]
    Sources(#[from] SourcesError),
    /// What the shards have is not what the manifest says.
    #[error("the manifest lies: {0}; do not use this dataset")]
    Lie(String),
    /// A record is not what its row says.
    #[error("record {record} of the dataset, in {file}, {what}; do not use this dataset")]
    Record {
        /// Its position.
        record: u64,
        /// The source file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A dataset, read through its shards.
pub struct Dataset {
    manifest: Manifest,
    sources: Vec<Source>,
    pub(super) blobs: Arc<dyn ShardSource>,
    pub(super) data: Arc<Stream>,
    pub(super) rows: Arc<Stream>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the dataset.
    pub position: u64,
    /// Where it lies and what its digest is; checked against `bytes`.
    pub row: RecordRow,
    /// The source file: position among [`Dataset::sources`].
    pub source: usize,
    /// Its bytes as the file has them: a JSON line, a CSV row, a text, an image with its notes behind it. Of a row of
    /// Parquet, its canonical JSON.
    pub bytes: Vec<u8>,
}

/// Reads the manifest that is called `hash`.
pub fn read_manifest(hash: BlobHash, blobs: &dyn ShardSource) -> Result<Manifest, ReadError> {
    let bytes = read_blob(hash, MANIFEST_MAX as u64, "manifest", blobs)?;
    Ok(Manifest::decode(&bytes)?)
}

/// Reads the manifest of the dataset that is called `root`.
pub fn read_root(root: BlobHash, blobs: &dyn ShardSource) -> Result<Manifest, ReadError> {
    let limit = 32 * (1 + manifest::SHARDS_MAX as u64);
    let sequence = read_blob(root, limit, "root", blobs)?;
    let first = sequence.first_chunk::<32>();
    let hash = first.ok_or_else(|| ReadError::Lie("the root of the dataset names no manifest".to_owned()))?;
    let manifest = read_manifest(BlobHash(*hash), blobs)?;
    if manifest.root() != root {
        return Err(ReadError::Lie(
            "the root names other shards than the manifest".to_owned(),
        ));
    }
    Ok(manifest)
}

fn read_blob(hash: BlobHash, most: u64, kind: &'static str, blobs: &dyn ShardSource) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match blobs.read_at(&hash, bytes.len() as u64, &mut block) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&block[..read]),
            Err(source) => return Err(ReadError::Blob { hash, kind, source }),
        }
        if bytes.len() as u64 > most {
            return Err(ReadError::Lie(format!("its {kind} is longer than {most} bytes")));
        }
    }
    match blake3::hash(&bytes).as_bytes() == &hash.0 {
        true => Ok(bytes),
        false => Err(ReadError::Changed { hash, kind }),
    }
}

impl Dataset {
    /// A dataset whose shards are in `blobs`. Reads the source map, and nothing else.
    pub fn open(manifest: Manifest, blobs: Arc<dyn ShardSource>) -> Result<Self, ReadError> {
        manifest.check()?;
        let mut map = Vec::new();
        for shard in manifest.shards_of(ShardKind::Sources) {
            let bytes = read_blob(shard.hash, SHARD_MAX, "source", &*blobs)?;
            if bytes.len() as u64 != shard.bytes {
                let (hash, said, found) = (shard.hash, shard.bytes, bytes.len());
                return Err(ReadError::Lie(format!(
                    "source shard {hash} has {found} bytes, not {said}"
                )));
            }
            map.extend_from_slice(&bytes);
            if map.len() as u64 > SOURCES_MAX {
                return Err(ReadError::Lie(format!(
                    "its source map is longer than {SOURCES_MAX} bytes"
                )));
            }
        }
        let sources = read_sources(&map)?;
        let bytes = sources.last().map_or(0, |last| last.offset + last.bytes);
        let records = sources
            .iter()
            .try_fold(0u64, |sum, source| sum.checked_add(source.records));
        for (name, said, found) in [
            ("sources", manifest.sources, Some(sources.len() as u64)),
            ("bytes", manifest.bytes, Some(bytes)),
            ("records", manifest.records, records),
        ] {
            if found != Some(said) {
                let found = found.map_or("too many".to_owned(), |found| found.to_string());
                return Err(ReadError::Lie(format!(
                    "`{name}` says {said}, but its source files have {found}"
                )));
            }
        }
        Ok(Self {
            data: Stream::new(&manifest, ShardKind::Data, blobs.clone()),
            rows: Stream::new(&manifest, ShardKind::Records, blobs.clone()),
            manifest,
            sources,
            blobs,
        })
    }

    /// What describes it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its source files, in the order of the stream.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Every record, front to back, each checked against its digest.
    pub fn records(&self) -> Records<'_> {
        Records {
            dataset: self,
            rows: BufReader::with_capacity(1 << 16, self.rows.clone().reader(0, u64::MAX)),
            position: 0,
            source: 0,
            within: 0,
            last: None,
            data: None,
            parquet: None,
            failed: false,
        }
    }

    /// The digests of all records, in order.
    pub fn digests(&self) -> Result<Vec<[u8; 32]>, ReadError> {
        let mut reader = BufReader::with_capacity(1 << 16, self.rows.clone().reader(0, u64::MAX));
        let row = |at: u64| self.row(&mut reader, at).map(|row| row.digest);
        (0..self.manifest.records).map(row).collect()
    }

    pub(super) fn row(&self, rows: &mut impl Read, at: u64) -> Result<RecordRow, ReadError> {
        let mut bytes = [0; 56];
        rows.read_exact(&mut bytes)
            .map_err(|error| self.blob(&self.rows, at * 56, "record", error))?;
        Ok(RecordRow::decode(&bytes))
    }

    pub(super) fn blob(&self, stream: &Stream, offset: u64, kind: &'static str, source: io::Error) -> ReadError {
        let hash = stream.shard_at(offset).unwrap_or_default();
        ReadError::Blob { hash, kind, source }
    }
}

/// What changed from `old` to `new`.
pub fn diff(old: &Dataset, new: &Dataset) -> Result<Diff, ReadError> {
    Ok(manifest::diff(&old.digests()?, &new.digests()?))
}

/// The records of a dataset; ends at the first that cannot be read.
pub struct Records<'a> {
    dataset: &'a Dataset,
    rows: BufReader<StreamReader>,
    position: u64,
    source: usize,
    /// Records of the source file so far.
    within: u64,
    last: Option<RecordRow>,
    /// A reader, and where in the stream it is.
    data: Option<(u64, BufReader<StreamReader>)>,
    parquet: Option<(usize, Rows)>,
    failed: bool,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let end = self.position == self.dataset.manifest.records;
        let record = if end {
            self.end().err().map(Err)
        } else {
            Some(self.read())
        };
        self.failed = end || matches!(record, Some(Err(_)));
        record
    }
}

impl Records<'_> {
    fn read(&mut self) -> Result<Record, ReadError> {
        let position = self.position;
        let row = self.dataset.row(&mut self.rows, position)?;
        self.place(&row)?;
        let parquet = self.dataset.sources[self.source].kind == SourceKind::Parquet;
        let bytes = if parquet {
            self.parquet_row(&row)?
        } else {
            self.stretch(&row)?
        };
        if record_digest(&bytes) != row.digest {
            return Err(self.lie(&row, "is not what its digest says"));
        }
        self.position += 1;
        self.last = Some(row);
        Ok(Record {
            position,
            row,
            source: self.source,
            bytes,
        })
    }

    /// Whether a row may follow the last one; moves on to its source file.
    fn place(&mut self, row: &RecordRow) -> Result<(), ReadError> {
        let sources = &self.dataset.sources;
        let holds = |source: &Source| row.offset < source.offset + source.bytes;
        while self.source < sources.len() && !holds(&sources[self.source]) {
            self.leave()?;
        }
        let end = row
            .offset
            .checked_add(row.bytes)
            .filter(|end| *end <= self.dataset.manifest.bytes);
        let (Some(source), Some(end)) = (sources.get(self.source), end) else {
            return Err(self.lie(row, "lies outside of the dataset"));
        };
        // Notes follow what they belong to, and only those.
        let notes = sources[self.source + 1..]
            .iter()
            .take_while(|next| next.kind == SourceKind::Sidecar);
        let most = notes.fold(source.offset + source.bytes, |_, note| note.offset + note.bytes);
        let media = matches!(source.kind, SourceKind::Image(_) | SourceKind::Audio(_));
        let fits = match &source.kind {
            SourceKind::Sidecar => false,
            SourceKind::Parquet => row.offset == source.offset && row.bytes == source.bytes && row.row == self.within,
            _ if media => row.offset == source.offset && end == most && row.row == 0,
            _ => end <= source.offset + source.bytes && row.row == 0,
        };
        let after = self.last.is_none_or(|last| {
            last.offset + last.bytes <= row.offset || (last.offset == row.offset && last.row < row.row)
        });
        if !fits || !after || row.bytes == 0 {
            return Err(self.lie(row, "does not lie where a record of that file can"));
        }
        self.within += 1;
        Ok(())
    }

    /// Leaves a source file, which must have had as many records as it says.
    fn leave(&mut self) -> Result<(), ReadError> {
        let source = &self.dataset.sources[self.source];
        if self.within != source.records {
            let (path, said, found) = (&source.path, source.records, self.within);
            return Err(ReadError::Lie(format!("{path} says {said} records and has {found}")));
        }
        self.source += 1;
        self.within = 0;
        Ok(())
    }

    fn end(&mut self) -> Result<(), ReadError> {
        while self.source < self.dataset.sources.len() {
            self.leave()?;
        }
        Ok(())
    }

    fn stretch(&mut self, row: &RecordRow) -> Result<Vec<u8>, ReadError> {
        if row.bytes > RECORD_READ_MAX {
            return Err(self.lie(row, "is longer than any record that is read into memory"));
        }
        let stream = &self.dataset.data;
        let (at, mut reader) = match self.data.take() {
            Some((at, reader)) if at <= row.offset && row.offset - at <= 1 << 20 => (at, reader),
            _ => {
                let reader = stream.clone().reader(row.offset, u64::MAX);
                (row.offset, BufReader::with_capacity(1 << 18, reader))
            }
        };
        let failed = |error| self.dataset.blob(stream, row.offset, "data", error);
        io::copy(&mut (&mut reader).take(row.offset - at), &mut io::sink()).map_err(failed)?;
        let mut bytes = Vec::new();
        let read = (&mut reader).take(row.bytes).read_to_end(&mut bytes).map_err(failed)?;
        if read as u64 != row.bytes {
            return Err(self.lie(row, "ends before its row says"));
        }
        self.data = Some((row.offset + row.bytes, reader));
        Ok(bytes)
    }

    fn parquet_row(&mut self, row: &RecordRow) -> Result<Vec<u8>, ReadError> {
        let rows = match self.parquet.take() {
            Some((source, rows)) if source == self.source => Ok(rows),
            _ => Rows::open(Span {
                stream: self.dataset.data.clone(),
                offset: row.offset,
                bytes: row.bytes,
            }),
        };
        let mut text = String::new();
        let next = rows.and_then(|mut rows| Ok((rows.next(&mut text)?, rows)));
        let (more, rows) = next.map_err(|why| self.lie(row, &format!("cannot be read: {why}")))?;
        if !more {
            return Err(self.lie(row, "is beyond the last row of its file"));
        }
        self.parquet = Some((self.source, rows));
        Ok(text.into_bytes())
    }

    fn lie(&self, _row: &RecordRow, what: &str) -> ReadError {
        let source = self.dataset.sources.get(self.source);
        ReadError::Record {
            record: self.position,
            file: source.map_or("no file", |source| &source.path).to_owned(),
            what: what.to_owned(),
        }
    }
}
