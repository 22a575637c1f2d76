//! Storage: everything that a node keeps on disk.
//!
//! The append-only logs and the blob store are the truth; the sled table is a cache that can be rebuilt from the block log.
//! Everything that must survive a power failure is written through [`disk::Disk`], so that the simulator runs the same code
//! on a disk that tears writes ([`FaultDisk`]).
//!
//! # Where to change what
//!
//! | module | content |
//! |---|---|
//! | [`block_log`] | every final block, in segments; opened, synced, repaired |
//! | [`wal`] | the consensus write-ahead log: what a validator signed at the current height |
//! | [`record_log`] | lists of small durable records: deals, datanets, pending transactions |
//! | `journal` | the file format that these three share |
//! | [`table`] | the only use of sled: state and indexes, a cache |
//! | [`blob`] | content-addressed blobs over iroh-blobs: add, read, pin, collect, verify |
//! | [`dataset`] | datasets: ingest source files into shards, read records, restore, verify |
//! | [`disk`], [`fault`] | file operations with their durability promises; the simulated disk |
//! | [`lock`], [`secret`] | one process per home; key files |
//!
//! # Why not a database for everything
//!
//! The truth of a node is short: blocks in order, and a few lists. sled 0.34 does not flush the disk's cache on Linux, has no
//! repair, and leaks values above 100 kB, so a promise that survives power loss cannot rest on it. A log of our own has a
//! format of one page, tells a torn end from damage, costs one `fdatasync` per commit, and runs on the simulated disk. sled
//! keeps what can be rebuilt: state and indexes.
//!
//! # Glossary
//!
//! - **durable**: survives power loss. **Torn**: written in part when the power failed, and never acknowledged.
//! - **blob**: bytes named by their BLAKE3 hash. **Pin**: a stored reason to keep a blob. **Hold**: one that lasts as long as
//!   a value in memory.
//! - **outboard**: the BLAKE3 tree of a blob, kept beside it. **Sketch**: see `protocol::duplicate`.

#![forbid(unsafe_code)]

pub mod blob;
pub mod block_log;
pub mod dataset;
pub mod disk;
pub mod fault;
mod journal;
pub mod lock;
pub mod record_log;
pub mod secret;
pub mod table;
pub mod wal;

pub use blob::BlobStore;
pub use block_log::BlockLog;
pub use disk::{Disk, RealDisk};
pub use fault::FaultDisk;
pub use journal::{Corrupt, JournalError};
pub use lock::HomeLock;
pub use record_log::RecordLog;
pub use table::Table;
pub use wal::Wal;
