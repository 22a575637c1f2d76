//! A dataset: what it is called, under which terms it comes, what its records look like and which blobs hold it.
//!
//! A dataset is one stream of bytes: its source files one behind another, unchanged, in the order of the source map. The
//! stream is cut into **data** shards. **Record** shards say where each record lies in the stream and what its digest is
//! ([`RecordRow`]), **source** shards say which file each stretch of the stream was ([`Source`]). So the way back to the
//! source is a copy of bytes, whatever the format, and a small manifest names a dataset of any size.
//!
//! The manifest is a blob like the others. The name of the dataset is the BLAKE3 of the hash sequence
//! `[manifest, shards…]`, 32 bytes each, which is what a swarm fetches ([`Manifest::root`]).
//!
//! What can be checked without the shards is checked by [`Manifest::check`]; whether the shards are what the manifest
//! says is for whoever holds them.

mod diff;
mod record;
mod schema;
mod source;
#[cfg(test)]
mod tests;

use bincode::{Decode, Encode};
use serde::Serialize;

pub use diff::{Diff, diff};
pub use record::{RECORD_ROW_BYTES, RecordDigest, RecordRow, record_digest};
pub use schema::{FIELD_NAME_MAX, FIELDS_MAX, Field, FieldKind, Kinds, Schema, SchemaError};
pub use source::{PATH_MAX, PathError, SOURCE_MAX, Source, SourceKind, SourcesError, check_path, read_sources};

use crate::{
    Account, BlobHash, DatanetId, NodeId,
    codec::{self, DecodeError},
    licence::Licence,
};

/// The layout of manifests that this code writes and reads.
pub const MANIFEST_VERSION: u16 = 1;
/// Longest manifest that is read.
pub const MANIFEST_MAX: usize = 16 << 20;
/// Shards that one dataset may have: 8 TiB in shards of the usual size.
pub const SHARDS_MAX: usize = 1 << 17;
/// Largest shard that anyone has to take.
pub const SHARD_MAX: u64 = 256 << 20;
/// Size that shards are cut to unless someone asks for another.
pub const SHARD_DEFAULT: u64 = 64 << 20;
/// Longest name of a dataset, in bytes.
pub const NAME_MAX: usize = 128;
/// People and nodes that one version may name as its contributors.
pub const CONTRIBUTORS_MAX: usize = 1024;

/// Everything that describes one version of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u16,
    /// What people call it.
    pub name: String,
    /// The datanet that it was contributed to.
    pub datanet: Option<DatanetId>,
    /// The terms under which others may use it.
    pub licence: Licence,
    /// The fields that every record has.
    pub schema: Schema,
    /// Who contributed it.
    pub contributors: Vec<Contributor>,
    /// The root of the version that this one follows.
    pub previous: Option<BlobHash>,
    /// When it was made, in milliseconds of the Unix epoch, as its maker says.
    pub created_ms: u64,
    /// Source files.
    pub sources: u64,
    /// Records in all.
    pub records: u64,
    /// Bytes of all source files.
    pub bytes: u64,
    /// The blobs: data, then records, then sources, each in the order of the stream.
    pub shards: Vec<Shard>,
}

/// Someone who gave records.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Contributor {
    /// The node that added them.
    pub node: NodeId,
    /// The account that is paid, where there is one.
    pub account: Option<Account>,
}

/// One blob of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Shard {
    /// Its name.
    pub hash: BlobHash,
    /// Its length.
    pub bytes: u64,
    /// Data: records that begin in it. Records: rows. Sources: source files.
    pub rows: u64,
    /// What is in it.
    pub kind: ShardKind,
}

/// What a shard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardKind {
    /// A stretch of the stream of source files.
    Data,
    /// Where records lie: a run of [`RecordRow`].
    Records,
    /// Which files there were: a run of [`Source`].
    Sources,
}

/// Why a manifest is none.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are no manifest at all.
    #[error("the manifest cannot be read; fetch it again, or ask its maker for a version that this program reads")]
    Decode(#[source] DecodeError),
    /// A later or an unknown layout.
    #[error("the manifest has version {0} and this program reads version {MANIFEST_VERSION}; update it")]
    Version(u16),
    /// Another encoding of the same value.
    #[error("the manifest is not in its one canonical encoding")]
    NotCanonical,
    /// A field that contradicts another, or a limit.
    #[error("field `{field}` of the manifest: {what}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong and what would be right.
        what: String,
    },
}

impl Manifest {
    /// The one encoding: what is stored as a blob and named by its hash.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a manifest and checks everything that can be checked without its shards.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if let Some(version) = bytes.first_chunk::<2>().map(|two| u16::from_be_bytes(*two))
            && version != MANIFEST_VERSION
        {
            return Err(ManifestError::Version(version));
        }
        let manifest: Self = codec::decode(bytes, MANIFEST_MAX).map_err(ManifestError::Decode)?;
        manifest.check()?;
        if manifest.encode() != bytes {
            return Err(ManifestError::NotCanonical);
        }
        Ok(manifest)
    }

    /// The name of the blob that [`Manifest::encode`] gives.
    pub fn hash(&self) -> BlobHash {
        BlobHash(*blake3::hash(&self.encode()).as_bytes())
    }

    /// The hash sequence that a swarm fetches: the manifest, then every shard, 32 bytes each.
    pub fn sequence(&self) -> Vec<u8> {
        let mut sequence = Vec::with_capacity(32 * (1 + self.shards.len()));
        sequence.extend_from_slice(&self.hash().0);
        for shard in &self.shards {
            sequence.extend_from_slice(&shard.hash.0);
        }
        sequence
    }

    /// The name of the dataset: the BLAKE3 of [`Manifest::sequence`].
    pub fn root(&self) -> BlobHash {
        BlobHash(*blake3::hash(&self.sequence()).as_bytes())
    }

    /// The shards of one kind, in the order of the stream.
    pub fn shards_of(&self, kind: ShardKind) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter(move |shard| shard.kind == kind)
    }

    /// Whether the manifest agrees with itself: no limit passed, no count that its shards contradict.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.version != MANIFEST_VERSION {
            return Err(ManifestError::Version(self.version));
        }
        check_name(&self.name).map_err(|what| field("name", what))?;
        self.licence
            .check()
            .map_err(|error| field("licence", error.to_string()))?;
        self.schema
            .check()
            .map_err(|error| field("schema", error.to_string()))?;
        if self.contributors.len() > CONTRIBUTORS_MAX {
            let found = self.contributors.len();
            return Err(field(
                "contributors",
                format!("{found} where at most {CONTRIBUTORS_MAX} are allowed"),
            ));
        }
        if self.shards.len() > SHARDS_MAX {
            let found = self.shards.len();
            return Err(field(
                "shards",
                format!("{found} where at most {SHARDS_MAX} are allowed; use larger shards"),
            ));
        }
        self.check_shards()?;
        self.check_totals()
    }

    fn check_shards(&self) -> Result<(), ManifestError> {
        let mut last = ShardKind::Data;
        for (index, shard) in self.shards.iter().enumerate() {
            let at = |name: &str| format!("shards[{index}].{name}");
            if shard.kind < last {
                return Err(field(at("kind"), "data comes first, then records, then sources"));
            }
            last = shard.kind;
            if shard.bytes == 0 || shard.bytes > SHARD_MAX {
                let what = format!("{} where 1 to {SHARD_MAX} are allowed", shard.bytes);
                return Err(field(at("bytes"), what));
            }
            let lie = match shard.kind {
                // Rows of a Parquet file all begin where the file does, so nothing bounds the rows of data from here.
                ShardKind::Data => None,
                ShardKind::Records => (shard.rows.checked_mul(RECORD_ROW_BYTES) != Some(shard.bytes)).then(|| {
                    format!(
                        "{} rows take {RECORD_ROW_BYTES} bytes each, not {}",
                        shard.rows, shard.bytes
                    )
                }),
                ShardKind::Sources => (shard.rows == 0 || shard.rows > shard.bytes)
                    .then(|| format!("{} source files in {} bytes", shard.rows, shard.bytes)),
            };
            if let Some(what) = lie {
                return Err(field(at("rows"), what));
            }
        }
        Ok(())
    }

    fn check_totals(&self) -> Result<(), ManifestError> {
        let sum = |kind, of: fn(&Shard) -> u64| {
            self.shards_of(kind)
                .try_fold(0u64, |total, shard| total.checked_add(of(shard)))
        };
        let bytes: fn(&Shard) -> u64 = |shard| shard.bytes;
        let rows: fn(&Shard) -> u64 = |shard| shard.rows;
        for (name, said, kind, of, what) in [
            ("bytes", self.bytes, ShardKind::Data, bytes, "bytes of data shards"),
            ("records", self.records, ShardKind::Data, rows, "rows of data shards"),
            (
                "records",
                self.records,
                ShardKind::Records,
                rows,
                "rows of record shards",
            ),
            (
                "sources",
                self.sources,
                ShardKind::Sources,
                rows,
                "rows of source shards",
            ),
        ] {
            let Some(found) = sum(kind, of) else {
                return Err(field(name, format!("the {what} do not fit 64 bits")));
            };
            if found != said {
                return Err(field(name, format!("says {said}, but the {what} are {found}")));
            }
        }
        Ok(())
    }
}

/// Whether a dataset may be called this.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("{} bytes where 1 to {NAME_MAX} are allowed", name.len()));
    }
    match name
        .chars()
        .find(|&c| !(c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.')))
    {
        Some(bad) => Err(format!("{bad:?} is not allowed; use letters, digits, spaces and - _ .")),
        None if name.trim() != name => Err("begins or ends with a space; remove it".to_owned()),
        None => Ok(()),
    }
}

fn field(field: impl Into<String>, what: impl Into<String>) -> ManifestError {
    ManifestError::Field {
        field: field.into(),
        what: what.into(),
    }
}
