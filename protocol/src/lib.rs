//! What two nodes must agree on: names, units, bytes on the wire, signatures, facts that happened.
//!
//! Pure by rule: no clock, file, socket, thread or randomness, and no map whose order can be seen to vary.
//! `.clippy.toml` beside this crate bans them with the reason.

#![forbid(unsafe_code)]

pub mod codec;
pub mod crypto;
pub mod duplicate;
pub mod event;
pub mod id;
pub mod licence;
pub mod manifest;
pub mod message;
pub mod time;
pub mod unit;

pub use id::{Account, BlobHash, BlockHash, DatanetId, NodeId, TxHash, ValidatorKey};
pub use time::{Height, Time};
pub use unit::Amount;
