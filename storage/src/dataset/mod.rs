//! Datasets: import into shards, verify, read, compare, and restore to the original files byte for byte.
//!
//! **Import** ([`ingest`]) reads JSONL, CSV, Parquet, plain text, Markdown and folders of images or sounds, once and front to
//! back, and stores shards in a [`ShardSink`]. Memory is bounded by the shard size, the longest record and the number of
//! compared records, whatever the size of the files.
//!
//! **Shards hold the source bytes unchanged.** Files are concatenated and cut into shards of [`Options::shard_bytes`]. Lines,
//! rows and documents are never split; an image or a Parquet file only if it is larger than a shard. Two more kinds of shard
//! list the position of each record and the file behind each range, see [`protocol::manifest`]. [`Dataset::restore`] writes
//! exactly what was read.
//!
//! Shards are only ever added, and the manifest comes last, so a failed import affects nothing that was there. Its shards
//! have no manifest, and the sink's own collection removes them.
//!
//! [`Sketches`] keeps what is known of the records of local datasets, so that a copy is found when it is added.
//!
//! Left out: where blobs are stored, how they are transferred, and who may have them.
//!
//! # Why not convert everything to one format
//!
//! A conversion loses what the target cannot express, and the hash of the result says nothing about the contributor's file.
//! Unchanged bytes keep both; a Parquet row, which is not a range of bytes, is identified by the digest of its canonical JSON
//! (sorted keys, no spaces).

mod csv;
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
mod shard_writer;
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
pub use sketches::{SketchError, SketchHeader, Sketches};
pub use store::{Folder, ShardSink, ShardSource};
pub use verify::Verified;
