//! A dataset whose shards are at hand: its source files, its records, and how it differs from another.

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
    pub(super) manifest: Manifest,
    pub(super) sources: Vec<Source>,
    pub(super) blobs: Arc<dyn ShardSource>,
    pub(super) data: Arc<Stream>,
    pub(super) rows: Arc<Stream>,
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
