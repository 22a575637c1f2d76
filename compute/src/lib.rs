//! What runs jobs: for now the machine they would run on.
//!
//! Nothing here meets the network or the disk of a node; `daemon` brings them together.

pub mod host;

pub use host::Host;
