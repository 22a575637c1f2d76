//! Blobs: bytes named by their BLAKE3 hash, kept for a reason, and given out only as what the name says.
//!
//! iroh-blobs holds the bytes and moves them between nodes; this module decides what stays. What is promised:
//!
//! - What `add_*`, [`BlobStore::pin`] or [`BlobStore::settle`] acknowledged survives kill -9 and power loss for as long
//!   as it has a reason. Bytes are synced first, then the database, then the reason, then the caller hears of it.
//! - A collection deletes only what has no reason and no [`Hold`], and nothing that arrives while it runs.
//! - A failed import harms nothing that is stored, and what it leaves behind is cleared away.
//! - Every byte that is read or exported here was verified on the way out.
//!
//! Whoever brings data in through [`BlobStore::api`] takes a [`Hold`] first and calls [`BlobStore::settle`] after.
//! Not here: the network, who may have what, and when to collect.

mod add;
mod collect;
mod fsck;
mod hold;
mod index;
mod log;
mod pin;
mod prove;
mod read;
mod reason;
mod reference;
mod room;
mod stats;
mod store;
mod sweep;

pub use add::{Add, AddError, Added, Mode, Progress};
pub use collect::{CollectError, Collected};
pub use fsck::{Checked, FsckError, Mend};
pub use hold::Hold;
pub use index::Kept;
pub use log::IndexError;
pub use pin::{HoldError, PinError, SettleError};
pub use prove::ProveError;
pub use read::{ExportError, ReadError, Status};
pub use reason::{Content, Format, Reason};
pub use reference::{Reference, ReferenceError, Stamp};
pub use room::{Full, Room, Usage};
pub use stats::Stats;
pub use store::{BlobStore, OpenError, Settings};
pub use sweep::SweepStopped;
