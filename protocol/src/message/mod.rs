//! Messages between nodes, one file per protocol: announcements, the chain, votes, datanets, pins.
//!
//! Every type has a size limit beside it (`…_MAX`), which the decoder applies before it reads. Encoded with [`crate::codec`];
//! variants are numbered in the order of their declaration, so new ones go last.

pub mod announce;
pub mod chain;
pub mod datanet;
pub mod pin;
pub mod vote;
