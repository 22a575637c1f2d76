//! Datasets between files and shards: import, check, read, compare, and back to files byte for byte.
//!
//! **Import** ([`ingest`]) reads JSONL, CSV, Parquet, plain text, Markdown and folders of images or sounds, once and
//! front to back, and hands shards to a [`ShardSink`]. Memory is bounded by the size of a shard, the longest record and
//! the number of records whose duplicates are looked for, whatever the size of the files.
//!
//! **Shards hold the source bytes as they are.** Files lie one behind another in one stream, cut into shards of
//! [`Options::shard_bytes`]; lines, rows and documents are never cut, a picture or a Parquet file only when it is larger
//! than a shard. Two more kinds of shard say where each record lies and which file each stretch was, see
//! [`protocol::manifest`]. A Parquet file is kept as it is too: its rows are found by reading it, their digest is that of
//! their canonical JSON (keys in order, no spaces). Nothing is converted, so nothing is lost: [`Dataset::restore`] writes
//! what was read.
//!
//! Shards only ever get added, and the manifest is handed over last; so an import that fails harms nothing that was there.
//! What it had already handed over has no manifest and is the sink's to collect.
//!
//! What is known of the records of datasets that are here lies in [`Sketches`], so that a copy is found when it is added.
//!
//! Left out: where blobs live, how they travel, who may have them.

mod csv;
mod cut;
mod error;
mod formats;
mod ingest;
mod json;
mod lines;
mod media;
mod objects;
mod open;
mod options;
mod parquet;
mod read;
mod records;
mod restore;
mod sketch;
mod sketches;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod verify;
mod walk;

pub use error::{At, FileFault, IngestError, RecordFault};
pub use ingest::{DuplicateOf, DuplicateRecord, Ingested, Progress, Skipped, ingest};
pub use objects::ObjectError;
pub use options::{About, Known, Options, TextRecords};
pub use read::{Dataset, ReadError, diff, read_manifest, read_root};
pub use records::{Record, Records};
pub use restore::RestoreError;
pub use sketches::{Card, SketchError, Sketches};
pub use store::{Folder, ShardSink, ShardSource};
pub use verify::Verified;
