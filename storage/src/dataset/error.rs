//! Errors of an import. Each names the file, the line and field if there is one, and what to do.

use std::{fmt, io};

use protocol::manifest::{FIELDS_MAX, ManifestError, PathError, SchemaError};

/// Error of an import. Nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// No file was found, or none with a record.
    #[error("there is no file to import under {0}; hidden files and links are left out")]
    NoFiles(String),
    #[error("option `{option}`: {what}")]
    Option { option: &'static str, what: String },
    /// A file that cannot be used as a whole.
    #[error("{file}: {fault}")]
    File {
        file: String,
        fault: FileFault,
        #[source]
        source: Option<io::Error>,
    },
    /// A record that cannot be used.
    #[error("{file} {at}: {fault}")]
    Record { file: String, at: At, fault: RecordFault },
    /// Two files with one name in the dataset.
    #[error(
        "two files would both be called `{name}` in the dataset: {first} and {second}; rename one, or add their folder"
    )]
    Twice {
        name: String,
        first: String,
        second: String,
    },
    /// A name that is not valid on every system.
    #[error("a file cannot be part of a dataset under its name; rename it")]
    Path(#[from] PathError),
    /// More than [`super::Options::files_max`] files.
    #[error("more than {0} files; raise `files_max`, or pack them")]
    TooManyFiles(usize),
    /// The store did not accept a shard.
    #[error(
        "could not store a shard of {bytes} bytes; nothing that was there is harmed: free some space, then add again"
    )]
    Sink {
        bytes: u64,
        #[source]
        source: io::Error,
    },
    /// The result is not a valid manifest, usually because of the name or the number of shards.
    #[error("these files make no valid dataset")]
    Manifest(#[from] ManifestError),
    /// The progress callback stopped the import.
    #[error("the import was cancelled; nothing was added")]
    Cancelled,
}

/// The reason that a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    Unreadable,
    Empty,
    NoRecords,
    /// No format is known for the file's extension.
    Unknown,
    /// A pipe, a device or a socket.
    NotAFile,
    /// A link that leads out of the folder; holds its target.
    LinkOut(String),
    /// The name is not valid UTF-8.
    Name,
    /// The file changed while it was read.
    Changed,
    /// More than 64 nested folders.
    Deep,
    /// An image or a sound above the size limit.
    TooLarge {
        bytes: u64,
        max: u64,
    },
    /// The first bytes are not those of an image or a sound.
    NotMedia(&'static str),
    /// Not a Parquet file, or a broken one.
    Parquet(String),
    /// A column without a name, or two with one name.
    Columns(String),
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("cannot be read"),
            Self::Empty => f.write_str("is empty; remove it, or skip what cannot be used"),
            Self::NoRecords => f.write_str("holds no record; remove it, or skip what cannot be used"),
            Self::Unknown => f.write_str(
                "no reader is for this kind of file; convert it to .jsonl, .csv, .parquet, .txt or .md, or skip what \
                 cannot be used",
            ),
            Self::NotAFile => f.write_str("is neither a file nor a folder; remove it"),
            Self::LinkOut(to) => write!(
                f,
                "is a link that leads out of the folder, to {to}; copy the file in instead"
            ),
            Self::Name => f.write_str("its name is not Unicode; rename it"),
            Self::Changed => f.write_str("changed while it was read; add it again when nothing writes to it"),
            Self::Deep => f.write_str("is more than 64 folders deep"),
            Self::TooLarge { bytes, max } => {
                write!(f, "has {bytes} bytes where at most {max} are allowed; raise the limit")
            }
            Self::NotMedia(class) => write!(f, "is no {class} by its first bytes; rename or remove it"),
            Self::Parquet(why) => write!(f, "is no Parquet file that can be read ({why}); write it again"),
            Self::Columns(why) => write!(f, "its header {why}; name every column once"),
        }
    }
}

/// A position in a file, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Line(u64),
    /// A row of a Parquet file.
    Row(u64),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// The reason that a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    #[error("byte {byte} is not UTF-8; convert the file, for example with iconv -f LATIN1 -t UTF-8")]
    NotUtf8 {
        /// Position within the line, from 1.
        byte: usize,
    },
    #[error("the record is longer than {max} bytes; split it, or raise the limit of records")]
    TooLong { max: u64 },
    #[error("broken JSON at column {column} ({why}); mend or remove the line")]
    Json {
        column: usize,
        /// The parser's error.
        why: String,
    },
    /// JSON, but not an object.
    #[error("{found} where a JSON object is needed; write one object per line")]
    NotObject { found: &'static str },
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// More or fewer cells than columns.
    #[error("{found} cells where the file has {wanted} columns; quote cells that hold the delimiter")]
    Ragged { found: usize, wanted: usize },
    /// A quote that is never closed.
    #[error("a quote is opened in cell {cell} and never closed; close it, or double it inside a cell")]
    OpenQuote { cell: usize },
    /// Characters between a closing quote and the delimiter.
    #[error("cell {cell} goes on behind its closing quote; double quotes inside a cell")]
    AfterQuote { cell: usize },
    /// More cells than a schema may have fields.
    #[error("more than {FIELDS_MAX} cells")]
    Cells,
}
