//! Why an import stopped: always the file, where there is one the line and the field, and what to do.

use std::{fmt, io};

use protocol::manifest::{FIELDS_MAX, ManifestError, PathError, SchemaError};

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Nothing to read.
    #[error("there is no file to import under {0}; hidden files and links are left out")]
    Nothing(String),
    /// An option out of its limits.
    #[error("option `{option}`: {what}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// A file as a whole.
    #[error("{file}: {fault}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        fault: FileFault,
        /// What the system said, where it did.
        #[source]
        source: Option<io::Error>,
    },
    /// One record.
    #[error("{file} {at}: {fault}")]
    Record {
        /// The file.
        file: String,
        /// Where in it.
        at: At,
        /// What is wrong.
        fault: RecordFault,
    },
    /// Two files that would be one.
    #[error(
        "two files would both be called `{name}` in the dataset: {first} and {second}; rename one, or add their folder"
    )]
    Twice {
        /// The name.
        name: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// A name that cannot be a name everywhere.
    #[error("a file cannot be part of a dataset under its name; rename it")]
    Path(#[from] PathError),
    /// More files than the limit.
    #[error("more than {0} files; raise `files_max`, or pack them")]
    TooManyFiles(usize),
    /// The store refused a shard.
    #[error(
        "could not store a shard of {bytes} bytes; nothing that was there is harmed: free some space, then add again"
    )]
    Sink {
        /// How large it is.
        bytes: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The result is no valid manifest, most often because of its name or its number of shards.
    #[error("these files make no valid dataset")]
    Manifest(#[from] ManifestError),
    /// Whoever watched the progress wanted no more of it.
    #[error("the import was cancelled; nothing was added")]
    Cancelled,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// It cannot be read.
    Unreadable,
    /// It has no bytes.
    Empty,
    /// It has bytes and no record.
    NoRecords,
    /// Nothing here reads such files.
    Unknown,
    /// A pipe, a device, a socket.
    NotAFile,
    /// A link that leads out of the folder.
    LinkOut(String),
    /// A name that is not Unicode.
    Name,
    /// It changed while it was read.
    Changed,
    /// Folders within folders beyond reason.
    Deep,
    /// An image or a sound above the limit.
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Its first bytes are of no image or sound that is known.
    NotMedia(&'static str),
    /// It is no Parquet file, or a broken one.
    Parquet(String),
    /// A column without a name, or a name twice.
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
            Self::Deep => f.write_str("lies more than 64 folders deep"),
            Self::TooLarge { bytes, max } => {
                write!(f, "has {bytes} bytes where at most {max} are allowed; raise the limit")
            }
            Self::NotMedia(class) => write!(f, "is no {class} by its first bytes; rename or remove it"),
            Self::Parquet(why) => write!(f, "is no Parquet file that can be read ({why}); write it again"),
            Self::Columns(why) => write!(f, "its header {why}; name every column once"),
        }
    }
}

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A line, from 1.
    Line(u64),
    /// A row of Parquet, from 1.
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

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Bytes that are no text.
    #[error("byte {byte} is not UTF-8; convert the file, for example with iconv -f LATIN1 -t UTF-8")]
    NotUtf8 {
        /// From 1, within the line.
        byte: usize,
    },
    /// Longer than the limit.
    #[error("the record is longer than {max} bytes; split it, or raise the limit of records")]
    TooLong {
        /// The limit.
        max: u64,
    },
    /// Not JSON.
    #[error("broken JSON at column {column} ({why}); mend or remove the line")]
    Json {
        /// From 1.
        column: usize,
        /// What the parser says.
        why: String,
    },
    /// JSON, and no object.
    #[error("{found} where a JSON object is needed; write one object per line")]
    NotObject {
        /// What it is.
        found: &'static str,
    },
    /// It does not fit the schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// More or fewer cells than columns.
    #[error("{found} cells where the file has {wanted} columns; quote cells that hold the delimiter")]
    Ragged {
        /// Cells in this row.
        found: usize,
        /// Columns of the file.
        wanted: usize,
    },
    /// A quote that nothing closes.
    #[error("a quote is opened in cell {cell} and never closed; close it, or double it inside a cell")]
    OpenQuote {
        /// From 1.
        cell: usize,
    },
    /// Something between a closing quote and the delimiter.
    #[error("cell {cell} goes on behind its closing quote; double quotes inside a cell")]
    AfterQuote {
        /// From 1.
        cell: usize,
    },
    /// More cells than any schema has fields.
    #[error("more than {FIELDS_MAX} cells")]
    Cells,
}
