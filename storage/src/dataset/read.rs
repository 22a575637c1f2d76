//! A dataset with its shards: source files, records, and the difference to another dataset.

use std::{
    io::{self, BufReader, Read},
    sync::Arc,
};

use protocol::{
    BlobHash,
    manifest::{
        self, Diff, MANIFEST_MAX, Manifest, ManifestError, RecordRow, SHARD_MAX, ShardKind, Source, SourcesError,
        read_sources,
    },
};

use super::{store::ShardSource, stream::Stream};

/// Longest source map that is read, in bytes.
const SOURCES_MAX: u64 = 1 << 30;

/// Error of reading a dataset.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A blob is missing or unreadable.
    #[error("{kind} shard {hash} cannot be read; fetch the dataset again")]
    Blob {
        hash: BlobHash,
        /// The blob's part in the dataset.
        kind: &'static str,
        #[source]
        source: io::Error,
    },
    /// The bytes of a blob do not match its hash.
    #[error(
        "{kind} shard {hash} is no longer what its name says: the file it refers to was changed, or its store is \
         damaged; restore that file, or fetch the shard from a peer"
    )]
    Changed {
        hash: BlobHash,
        /// The blob's part in the dataset.
        kind: &'static str,
    },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the source map of the dataset cannot be read")]
    Sources(#[from] SourcesError),
    /// The shards contradict the manifest.
    #[error("the manifest contradicts its shards: {0}; do not use this dataset")]
    Inconsistent(String),
    /// A record contradicts its row.
    #[error("record {record} of the dataset, in {file}, {what}; do not use this dataset")]
    Record {
        /// Position in the dataset.
        record: u64,
        file: String,
        what: String,
    },
}

/// An open dataset: manifest and source map in memory, the rest read from its shards on demand.
pub struct Dataset {
    pub(super) manifest: Manifest,
    pub(super) sources: Vec<Source>,
    pub(super) blobs: Arc<dyn ShardSource>,
    pub(super) data: Arc<Stream>,
    pub(super) rows: Arc<Stream>,
}

/// Reads and checks a manifest by its hash.
pub fn read_manifest(hash: BlobHash, blobs: &dyn ShardSource) -> Result<Manifest, ReadError> {
    let bytes = read_blob(hash, MANIFEST_MAX as u64, "manifest", blobs)?;
    Ok(Manifest::decode(&bytes)?)
}

/// Reads the manifest of a dataset by its root, and checks that the root is right.
pub fn read_root(root: BlobHash, blobs: &dyn ShardSource) -> Result<Manifest, ReadError> {
    let limit = 32 * (1 + manifest::SHARDS_MAX as u64);
    let sequence = read_blob(root, limit, "root", blobs)?;
    let first = sequence.first_chunk::<32>();
    let hash = first.ok_or_else(|| ReadError::Inconsistent("the root of the dataset names no manifest".to_owned()))?;
    let manifest = read_manifest(BlobHash(*hash), blobs)?;
    if manifest.root() != root {
        return Err(ReadError::Inconsistent(
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
            return Err(ReadError::Inconsistent(format!(
                "its {kind} is longer than {most} bytes"
            )));
        }
    }
    match blake3::hash(&bytes).as_bytes() == &hash.0 {
        true => Ok(bytes),
        false => Err(ReadError::Changed { hash, kind }),
    }
}

impl Dataset {
    /// Opens a dataset whose shards are in `blobs`. Reads only the source map.
    pub fn open(manifest: Manifest, blobs: Arc<dyn ShardSource>) -> Result<Self, ReadError> {
        manifest.check()?;
        let mut map = Vec::new();
        for shard in manifest.shards_of(ShardKind::Sources) {
            let bytes = read_blob(shard.hash, SHARD_MAX, "source", &*blobs)?;
            if bytes.len() as u64 != shard.bytes {
                let (hash, said, found) = (shard.hash, shard.bytes, bytes.len());
                return Err(ReadError::Inconsistent(format!(
                    "source shard {hash} has {found} bytes, not {said}"
                )));
            }
            map.extend_from_slice(&bytes);
            if map.len() as u64 > SOURCES_MAX {
                return Err(ReadError::Inconsistent(format!(
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
                return Err(ReadError::Inconsistent(format!(
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

    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the source files, in stream order.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Returns the digests of all records, in order.
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

/// Returns the difference from `old` to `new`, by record digests.
pub fn diff(old: &Dataset, new: &Dataset) -> Result<Diff, ReadError> {
    Ok(manifest::diff(&old.digests()?, &new.digests()?))
}
