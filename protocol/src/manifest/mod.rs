//! The manifest of a dataset: its name, licence, schema and contributors, and the blobs that hold it.
//!
//! A dataset is one byte stream: its source files, unchanged, concatenated in the order of the source map. The stream is cut
//! into **data** shards. **Record** shards list each record's position in the stream and its digest ([`RecordRow`]);
//! **source** shards list the file behind each range of the stream ([`Source`]). Restoring the source files is therefore a
//! copy of bytes for every format, and a small manifest describes a dataset of any size.
//!
//! The manifest is a blob too. The dataset's id is its root: the BLAKE3 hash of the hash sequence `[manifest, shards…]`, 32
//! bytes each, which is what a swarm fetches ([`Manifest::root`]).
//!
//! [`Manifest::check`] covers what can be checked without the shards. That the shards hold what the manifest says is
//! checked by the code that has them (`storage::dataset`).
//!
//! # Why not a manifest that lists the records
//!
//! A dataset may have billions of records. With the lists in shards, a manifest stays below [`MANIFEST_MAX`], and a reader
//! finds record n by arithmetic, because rows have a fixed length.

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
pub use schema::{FIELD_NAME_MAX, FIELDS_MAX, Field, FieldKind, Schema, SchemaError, SchemaInference};
pub use source::{PATH_MAX, PathError, SOURCE_MAX, Source, SourceKind, SourcesError, check_path, read_sources};

use crate::{
    Account, BlobHash, DatanetId, NodeId,
    codec::{self, DecodeError},
    licence::Licence,
};

/// The manifest layout that this code writes and reads.
pub const MANIFEST_VERSION: u16 = 1;
/// Longest encoded manifest, in bytes.
pub const MANIFEST_MAX: usize = 16 << 20;
/// Most shards in one dataset: 8 TiB at the default shard size.
pub const SHARDS_MAX: usize = 1 << 17;
/// Largest shard size that every node must accept, in bytes.
pub const SHARD_MAX: u64 = 256 << 20;
/// Shard size that ingestion cuts to by default, in bytes.
pub const SHARD_DEFAULT: u64 = 64 << 20;
/// Longest name of a dataset, in bytes.
pub const NAME_MAX: usize = 128;
/// Most contributors that one version may name.
pub const CONTRIBUTORS_MAX: usize = 1024;

/// The description of one version of a dataset.
///
/// A decoded manifest is canonical and consistent with itself; see [`Manifest::decode`]. Field order is the encoding order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Manifest {
    /// Always [`MANIFEST_VERSION`].
    pub version: u16,
    /// The name for people; see [`check_name`].
    pub name: String,
    /// The datanet that it was contributed to, if any.
    pub datanet: Option<DatanetId>,
    pub licence: Licence,
    pub schema: Schema,
    pub contributors: Vec<Contributor>,
    /// The root of the version that this one replaces.
    pub previous: Option<BlobHash>,
    /// Creation time in milliseconds since the Unix epoch, as stated by the creator.
    pub created_ms: u64,
    /// Number of source files.
    pub sources: u64,
    /// Number of records.
    pub records: u64,
    /// Total size of the source files.
    pub bytes: u64,
    /// The blobs: data, then records, then sources, each in stream order.
    pub shards: Vec<Shard>,
}

/// A node that contributed records, and the account to pay.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Contributor {
    /// The node that added the records.
    pub node: NodeId,
    /// The account to pay. Without one, the node's share is not paid out.
    pub account: Option<Account>,
}

/// One blob of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Shard {
    pub hash: BlobHash,
    pub bytes: u64,
    /// For data: records that begin in the shard. For records: rows. For sources: source files.
    pub rows: u64,
    pub kind: ShardKind,
}

/// The content of a shard. The order of the variants is the order of shards in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardKind {
    /// A range of the concatenated source files.
    Data,
    /// A sequence of [`RecordRow`].
    Records,
    /// A sequence of [`Source`].
    Sources,
}

/// Error of decoding or checking a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest cannot be read; fetch it again, or ask its maker for a version that this program reads")]
    Decode(#[source] DecodeError),
    /// A layout that this code does not read.
    #[error("the manifest has version {0} and this program reads version {MANIFEST_VERSION}; update it")]
    Version(u16),
    /// The same value in another encoding; it would have another hash.
    #[error("the manifest is not in its one canonical encoding")]
    NotCanonical,
    /// A field that exceeds a bound or contradicts another one.
    #[error("field `{field}` of the manifest: {what}")]
    Field {
        field: String,
        /// The problem, and what would be valid.
        what: String,
    },
}

impl Manifest {
    /// Returns the canonical encoding: the bytes of the manifest's blob.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes a manifest and checks it. Refuses other versions and non-canonical encodings.
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

    /// Returns the hash of the manifest's blob.
    pub fn hash(&self) -> BlobHash {
        BlobHash(*blake3::hash(&self.encode()).as_bytes())
    }

    /// Returns the hash sequence that a swarm fetches: the manifest, then every shard, 32 bytes each.
    pub fn sequence(&self) -> Vec<u8> {
        let mut sequence = Vec::with_capacity(32 * (1 + self.shards.len()));
        sequence.extend_from_slice(&self.hash().0);
        for shard in &self.shards {
            sequence.extend_from_slice(&shard.hash.0);
        }
        sequence
    }

    /// Returns the dataset's id: the BLAKE3 hash of [`Manifest::sequence`].
    pub fn root(&self) -> BlobHash {
        BlobHash(*blake3::hash(&self.sequence()).as_bytes())
    }

    /// Returns the shards of one kind, in stream order.
    pub fn shards_of(&self, kind: ShardKind) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter(move |shard| shard.kind == kind)
    }

    /// Checks the manifest against its bounds, and its totals against its shards.
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
                // Rows of a Parquet file all begin where the file does, so the bytes of a data shard do not bound its
                // rows.
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

/// Checks a dataset's name: 1 to [`NAME_MAX`] bytes of letters, digits, spaces and `- _ .`.
///
/// ```
/// use protocol::manifest::check_name;
///
/// assert!(check_name("Plant names 2.1").is_ok());
/// assert!(check_name("../plants").is_err());
/// ```
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
