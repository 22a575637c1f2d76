//! The source map of a dataset: the path of each source file and its range of the stream.
//!
//! A path comes from another machine and becomes a file on this one, so it is checked on every read: relative, plain
//! components, no `..`.

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
/// Longest encoded [`Source`], in bytes.
pub const SOURCE_MAX: usize = 1 << 20;

/// One source file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Source {
    /// Path under the root of the dataset, with `/` between components.
    pub path: String,
    /// Start in the stream.
    pub offset: u64,
    pub bytes: u64,
    /// Number of records in the file.
    pub records: u64,
    /// BLAKE3 hash of the whole file.
    pub hash: BlobHash,
    /// The format, and its parameters.
    pub kind: SourceKind,
}

/// The format of a source file, which decides how records are found in it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// One JSON object per line.
    Jsonl,
    Csv {
        /// An ASCII character.
        delimiter: u8,
        /// Column names: from the first line, or generated if the file has no header.
        columns: Vec<String>,
        /// True if the first line is a header.
        header: bool,
    },
    Parquet,
    Text,
    Markdown,
    /// An image, with its media type as detected from the first bytes.
    Image(String),
    /// A sound, with its media type as detected from the first bytes.
    Audio(String),
    /// A caption or properties of the image or sound before it.
    Sidecar,
}

/// Error of a path that must not appear in a dataset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path `{path}` {why}")]
pub struct PathError {
    /// The path, escaped and shortened to 200 characters.
    pub path: String,
    pub why: &'static str,
}

/// Error of reading a source map.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    #[error("source file {0} of the source map cannot be read")]
    Decode(u64, #[source] DecodeError),
    #[error("the source map ends in the middle of entry {0}")]
    Short(u64),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("two source files are called `{0}`")]
    Twice(String),
    /// Files that are not contiguous in the stream.
    #[error("source file `{path}` begins at byte {found} of the dataset, but the one before it ends at {wanted}")]
    Gap {
        path: String,
        /// The offset in the map.
        found: u64,
        /// The end of the previous file.
        wanted: u64,
    },
    #[error("source file `{0}` names no columns, or too many of them")]
    Columns(String),
}

/// Checks that `path` names a file below a folder, on every operating system, and cannot leave that folder.
///
/// ```
/// use protocol::manifest::check_path;
///
/// assert!(check_path("train/part-0.jsonl").is_ok());
/// assert!(check_path("../secrets").is_err());
/// assert!(check_path("C:\\data").is_err());
/// ```
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
    /// Returns the stored form: the length in four bytes, then the encoded entry.
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

/// Decodes a whole source map, its shards concatenated, and checks that the files are contiguous from offset 0 and
/// have distinct paths. Memory grows with the bytes given, never with a claimed length.
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
    /// Returns the format's short name, or the media type of an image or sound.
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
