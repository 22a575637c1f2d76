//! What a node keeps: the block log, the consensus journal and lists of records, which are the truth, and the table,
//! which is a cache.
//!
//! Everything that must survive a power cut is written through [`disk::Disk`], so that the simulator runs the same rules
//! on a disk that tears writes. The table is sled and stands apart: it can always be rebuilt from the block log.

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
