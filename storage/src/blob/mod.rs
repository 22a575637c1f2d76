//! The blob store: bytes named by their BLAKE3 hash, kept as long as there is a reason, verified on every read.
//!
//! iroh-blobs stores the bytes and transfers them; this module decides what is kept. It promises:
//!
//! - What `add_*`, [`BlobStore::pin`] or [`BlobStore::settle`] acknowledged survives kill -9 and power loss while it has a
//!   reason. Bytes are synced first, then the database, then the reason; then the call returns.
//! - A collection deletes only what has no reason and no [`Hold`], and nothing that arrives while it runs.
//! - A failed import damages nothing that is stored, and its remains are cleared.
//! - Every byte that is read or exported here was verified on the way out.
//!
//! Code that writes through [`BlobStore::api`] takes a [`Hold`] first and calls [`BlobStore::settle`] afterwards. Left out:
//! the network, access rules, and the schedule of collections.
//!
//! # Why not iroh-blobs alone
//!
//! Its collection can delete a blob that was just tagged, ends at its first error, and is off by default; a download killed
//! in its first half second is forgotten. A pin is a promise with money on it, so reasons are kept in an index of our own.

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
mod space;
mod stats;
mod store;
mod sweep;

pub use add::{Add, AddError, Added, Mode, Progress};
pub use collect::{CollectError, Collected};
pub use fsck::{FsckError, FsckReport, Repair};
pub use hold::Hold;
pub use index::Kept;
pub use log::IndexError;
pub use pin::{HoldError, PinError, SettleError};
pub use prove::ProveError;
pub use read::{ExportError, ReadError, Status};
pub use reason::{Content, Format, Reason};
pub use reference::{Reference, ReferenceError, Stamp};
pub use space::{Full, SpaceLimits, Usage};
pub use stats::Stats;
pub use store::{BlobStore, OpenError, Settings};
pub use sweep::SweepStopped;
