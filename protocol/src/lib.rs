//! What two nodes must agree on: names, units, bytes on the wire, signatures, facts that happened.
//!
//! Pure by rule: no clock, file, socket, thread or randomness, and no map whose order can be seen to vary.
//! `.clippy.toml` beside this crate bans them with the reason.

#![forbid(unsafe_code)]

pub mod codec;
pub mod crypto;
pub mod datanet;
pub mod duplicate;
mod error;
pub mod event;
pub mod id;
pub mod licence;
pub mod machine;
pub mod manifest;
pub mod message;
mod preimage;
pub mod proof;
pub mod receipt;
pub mod seal;
pub mod time;
pub mod unit;

pub use error::error_chain;
pub use id::{Account, BlobHash, BlockHash, DatanetId, NodeId, TxHash, ValidatorKey};
pub use preimage::Spoken;
pub use time::{Height, Time};
pub use unit::Amount;
