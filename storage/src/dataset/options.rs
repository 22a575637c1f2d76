//! Parameters of an import.

use std::{fmt, sync::Arc};

use protocol::{
    BlobHash, DatanetId,
    duplicate::{Entry, Index},
    licence::Licence,
    manifest::{Contributor, SHARD_DEFAULT, SHARD_MAX, Schema},
};

/// The parts of a manifest that do not come from the files.
#[derive(Clone, Debug)]
pub struct About {
    /// The name for people.
    pub name: String,
    /// The datanet that it is contributed to, if any.
    pub datanet: Option<DatanetId>,
    pub licence: Licence,
    pub contributors: Vec<Contributor>,
    /// The root of the previous version.
    pub previous: Option<BlobHash>,
    /// The current time, in milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// Limits and format options of an import.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a shard.
    pub shard_bytes: u64,
    /// Longest line, row or document.
    pub record_bytes_max: u64,
    /// Largest image or sound.
    pub media_bytes_max: u64,
    pub files_max: usize,
    /// The required fields; inferred from the records if `None`.
    pub schema: Option<Schema>,
    /// Unit of a record in plain text and Markdown.
    pub text: TextRecords,
    /// Delimiter of CSV files; `None` for a comma, or a tab in `.tsv` files.
    pub csv_delimiter: Option<u8>,
    /// True if the first row of a CSV file has the column names.
    pub csv_header: bool,
    /// Leave out empty files and unknown formats, and report them, instead of failing.
    pub skip_unusable: bool,
    /// Most records that are checked for duplicates; each takes 1 to 18 KB of memory during the import.
    pub compare_records_max: usize,
    /// The records known before.
    pub known: Arc<dyn Known>,
}

/// A source of known records, in memory or on disk.
pub trait Known: fmt::Debug + Send + Sync {
    /// Returns every known record that one of the `new` ones may duplicate, perhaps more, each with its rank in the
    /// order of commitments.
    fn beside(&self, new: &[Entry]) -> Vec<Entry>;
}

impl Known for Index {
    fn beside(&self, _new: &[Entry]) -> Vec<Entry> {
        self.entries.clone()
    }
}

/// The unit of a record in plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRecords {
    /// The whole file.
    Document,
    /// Text between empty lines.
    Paragraph,
    /// A non-empty line.
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
    /// Returns the first invalid option, and what is wrong with it.
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
