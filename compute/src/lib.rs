//! The machine that jobs run on: what it has, so that a node and its operator know what it can take.
//!
//! Nothing here meets the network or the disk of a node; `daemon` brings them together.

pub mod host;

pub use host::Host;
