//! What an import is told: what the dataset is called, how far a file may go, and what is known already.

use std::{fmt, sync::Arc};

use protocol::{
    BlobHash, DatanetId,
    duplicate::{Entry, Index},
    licence::Licence,
    manifest::{Contributor, SHARD_DEFAULT, SHARD_MAX, Schema},
};

/// What a manifest says that no file does.
#[derive(Clone, Debug)]
pub struct About {
    /// What people call it.
    pub name: String,
    /// The datanet that it is contributed to.
    pub datanet: Option<DatanetId>,
    /// The terms.
    pub licence: Licence,
    /// Who contributes it.
    pub contributors: Vec<Contributor>,
    /// The root of the version before.
    pub previous: Option<BlobHash>,
    /// Now, in milliseconds of the Unix epoch.
    pub created_ms: u64,
}

/// How files are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a shard at most.
    pub shard_bytes: u64,
    /// Bytes of a line, row or document at most.
    pub record_bytes_max: u64,
    /// Bytes of an image or a sound at most.
    pub media_bytes_max: u64,
    /// Files at most.
    pub files_max: usize,
    /// The fields that records have to have; inferred if absent.
    pub schema: Option<Schema>,
    /// What a record of plain text or Markdown is.
    pub text: TextRecords,
    /// What separates the cells of a CSV file; a comma, or a tab in `.tsv`, if absent.
    pub csv_delimiter: Option<u8>,
    /// Whether the first row of a CSV file names its columns.
    pub csv_header: bool,
    /// Leave out empty files and files that no reader is for, and say so, instead of refusing them.
    pub skip_unusable: bool,
    /// Records whose duplicates are looked for; each takes 1 to 18 KB while the import runs.
    pub compare_records_max: usize,
    /// Records that are known already.
    pub known: Arc<dyn Known>,
}

/// Records that are known already, in memory or on disk.
pub trait Known: fmt::Debug + Send + Sync {
    /// Those that one of the new records may duplicate, and maybe more, each with its place in the order of commitments.
    fn beside(&self, new: &[Entry]) -> Vec<Entry>;
}

impl Known for Index {
    fn beside(&self, _new: &[Entry]) -> Vec<Entry> {
        self.entries.clone()
    }
}

/// What a record of plain text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRecords {
    /// The whole file.
    Document,
    /// What stands between empty lines.
    Paragraph,
    /// A line that is not empty.
    Line,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shard_bytes: SHARD_DEFAULT,
            record_bytes_max: 16 << 20,
            media_bytes_max: 1 << 30,
            files_max: 1_000_000,
            schema: None,
            text: TextRecords::Document,
            csv_delimiter: None,
            csv_header: true,
            skip_unusable: false,
            compare_records_max: 200_000,
            known: Arc::new(Index::default()),
        }
    }
}

impl Options {
    /// The first option that contradicts another or a limit, and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !(1024..=SHARD_MAX).contains(&self.shard_bytes) {
            return Err((
                "shard_bytes",
                format!("{} where 1024 to {SHARD_MAX} are allowed", self.shard_bytes),
            ));
        }
        if self.record_bytes_max == 0 || self.record_bytes_max > SHARD_MAX {
            return Err((
                "record_bytes_max",
                format!("{} where 1 to {SHARD_MAX} are allowed", self.record_bytes_max),
            ));
        }
        if let Some(schema) = &self.schema {
            schema.check().map_err(|error| ("schema", error.to_string()))?;
        }
        match self.csv_delimiter {
            Some(bad) if !bad.is_ascii() || matches!(bad, b'"' | b'\n' | b'\r') => {
                Err(("csv_delimiter", format!("byte {bad} cannot separate cells")))
            }
            _ => Ok(()),
        }
    }
}
