//! What every room of the daemon stands on: the home folder, the clock, secrets, the words in which work is reported, the
//! page of metrics, the types of the operator's API, and the one guard in front of HTTP.
//!
//! Leaves out everything that knows the chain, the network or a model. Begin with [`home`], which lists what a node writes.

#![forbid(unsafe_code)]

pub mod argument;
pub mod busy;
pub mod clock;
pub mod entropy;
pub mod events;
pub mod figures;
pub mod guard;
pub mod home;
pub mod http;
pub mod key;
pub mod listen;
pub mod lock;
pub mod operator;
pub mod report;
pub mod words;
