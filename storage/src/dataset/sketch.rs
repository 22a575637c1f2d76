//! Sketches of a stored dataset, identical to those that its import made.

use std::ops::ControlFlow;

use protocol::{
    duplicate::{Entry, Sketch},
    manifest::{Source, SourceKind, record_digest},
};

use super::{
    csv, json, lines,
    read::{Dataset, ReadError},
    records::Record,
};

impl Dataset {
    /// Returns the sketches of at most `most` records. `progress` is called with the size of each record and may stop
    /// the work.
    pub fn entries(
        &self,
        most: usize,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        for record in self.records().take(most) {
            let record = record?;
            entries.push(Entry {
                record: record.row.digest,
                committed: u64::MAX,
                sketch: sketch(&self.sources[record.source], &record),
            });
            if progress(record.bytes.len() as u64).is_break() {
                break;
            }
        }
        Ok(entries)
    }
}

/// Computes a record's sketch. The dataset may come from another node: a record that is not valid for its format is
/// compared by its bytes.
fn sketch(source: &Source, record: &Record) -> Sketch {
    let bytes = &record.bytes;
    let text = match &source.kind {
        SourceKind::Jsonl | SourceKind::Parquet => words(bytes),
        SourceKind::Csv { delimiter, .. } => cells(*delimiter, bytes),
        SourceKind::Text | SourceKind::Markdown => lines::text(bytes).ok().map(str::to_owned),
        SourceKind::Image(_) | SourceKind::Audio(_) | SourceKind::Sidecar => {
            // Without the sidecars.
            let own = usize::try_from(source.bytes).unwrap_or(usize::MAX).min(bytes.len());
            return Sketch::of_digest(record_digest(&bytes[..own]));
        }
    };
    text.map_or_else(|| Sketch::of_bytes(bytes), |text| Sketch::of_text(&text))
}

fn words(bytes: &[u8]) -> Option<String> {
    let text = lines::text(bytes).ok()?;
    Some(json::object(text).ok()?.words)
}

fn cells(delimiter: u8, bytes: &[u8]) -> Option<String> {
    let mut row = csv::Row::new(delimiter);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        row.feed(line).ok()?;
    }
    Some(row.finish().ok()?.join("\n"))
}
