//! The source files of a dataset: what each was called, and which stretch of the stream it is.
//!
//! A path comes from another machine and becomes a file here, so it is checked wherever it is read: relative, plain
//! components, nothing that climbs.

use std::collections::BTreeSet;

use bincode::{Decode, Encode};
use serde::Serialize;

use super::schema::FIELDS_MAX;
use crate::{
    BlobHash,
    codec::{self, DecodeError},
};

/// Longest path of a source file, in bytes.
pub const PATH_MAX: usize = 1024;
/// Longest encoded [`Source`].
pub const SOURCE_MAX: usize = 1 << 20;

/// One source file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Source {
    /// Its path under the root of the dataset, with `/` between components.
    pub path: String,
    /// Where it begins in the stream.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
    /// BLAKE3 of the whole file.
    pub hash: BlobHash,
    /// How it was read.
    pub kind: SourceKind,
}

/// How records are found in a file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// One JSON object per line.
    Jsonl,
    /// Separated values.
    Csv {
        /// What separates them, an ASCII character.
        delimiter: u8,
        /// The names of the columns: from the first line, or made up where it held data.
        columns: Vec<String>,
        /// Whether the first line was names.
        header: bool,
    },
    /// Apache Parquet.
    Parquet,
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// A picture, with its type as its first bytes show it.
    Image(String),
    /// A sound, with its type as its first bytes show it.
    Audio(String),
    /// What belongs to the picture or the sound before it: a caption or its properties.
    Sidecar,
}

/// Why a path may not be a path in a dataset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path `{path}` {why}")]
pub struct PathError {
    /// The path.
    pub path: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Why a run of source files is none.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// The bytes are no source map.
    #[error("source file {0} of the source map cannot be read")]
    Decode(u64, #[source] DecodeError),
    /// The map ends in the middle of an entry.
    #[error("the source map ends in the middle of entry {0}")]
    Short(u64),
    /// A path that may not be one.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The same path twice.
    #[error("two source files are called `{0}`")]
    Twice(String),
    /// Files that do not lie one behind another.
    #[error("source file `{path}` begins at byte {found} of the dataset, but the one before it ends at {wanted}")]
    Gap {
        /// The file.
        path: String,
        /// Where it says it begins.
        found: u64,
        /// Where it has to.
        wanted: u64,
    },
    /// Columns out of their limits.
    #[error("source file `{0}` names no columns, or too many of them")]
    Columns(String),
}

/// Whether `path` names a file under a folder and nothing else, on any system.
pub fn check_path(path: &str) -> Result<(), PathError> {
    let refuse = |why| {
        Err(PathError {
            path: path.escape_debug().take(200).collect(),
            why,
        })
    };
    if path.is_empty() || path.len() > PATH_MAX {
        return refuse("is empty or longer than 1024 bytes");
    }
    if path.starts_with('/') {
        return refuse("is absolute; a path in a dataset is relative to its folder");
    }
    if path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':')) {
        return refuse("has a control character, a backslash or a colon, which are no part of a name on every system");
    }
    for component in path.split('/') {
        match component {
            "" => return refuse("has an empty component; write one / between two names"),
            "." | ".." => return refuse("climbs with . or .., out of the folder it has to stay in"),
            long if long.len() > 255 => return refuse("has a component longer than 255 bytes"),
            _ => (),
        }
    }
    Ok(())
}

impl Source {
    /// The entry as it is stored: its length in four bytes, then itself.
    pub fn encode(&self) -> Vec<u8> {
        let body = codec::encode(self);
        let length = u32::try_from(body.len()).expect("a source is far smaller than 4 GiB");
        [&length.to_be_bytes()[..], &body].concat()
    }

    fn check(&self) -> Result<(), SourcesError> {
        check_path(&self.path)?;
        if let SourceKind::Csv { columns, delimiter, .. } = &self.kind {
            let distinct: BTreeSet<_> = columns.iter().collect();
            let known = columns.len() <= FIELDS_MAX && !columns.is_empty() && distinct.len() == columns.len();
            if !known || !delimiter.is_ascii() {
                return Err(SourcesError::Columns(self.path.clone()));
            }
        }
        Ok(())
    }
}

/// Reads a whole source map, its shards joined, and checks that the files follow each other without gap or repetition
/// from the beginning of the stream. A map of a million files is read; a count that lies allocates nothing.
pub fn read_sources(mut bytes: &[u8]) -> Result<Vec<Source>, SourcesError> {
    let (mut sources, mut end) = (Vec::new(), 0u64);
    let mut paths = BTreeSet::new();
    while !bytes.is_empty() {
        let at = sources.len() as u64;
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(SourcesError::Short(at))?;
        let length = u32::from_be_bytes(*length) as usize;
        let body = rest.get(..length).ok_or(SourcesError::Short(at))?;
        bytes = &rest[length..];
        let source: Source = codec::decode(body, SOURCE_MAX).map_err(|error| SourcesError::Decode(at, error))?;
        source.check()?;
        if !paths.insert(source.path.clone()) {
            return Err(SourcesError::Twice(source.path));
        }
        let after = source.offset.checked_add(source.bytes);
        end = match after {
            Some(after) if source.offset == end => after,
            _ => {
                return Err(SourcesError::Gap {
                    path: source.path,
                    found: source.offset,
                    wanted: end,
                });
            }
        };
        sources.push(source);
    }
    Ok(sources)
}

impl SourceKind {
    /// A short name, as people write it.
    pub fn name(&self) -> &str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv { .. } => "csv",
            Self::Parquet => "parquet",
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Image(media) | Self::Audio(media) => media,
            Self::Sidecar => "sidecar",
        }
    }
}
