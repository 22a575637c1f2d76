//! Where everything meets: the node assembled from its parts, the shells around its machines, its interfaces.

#![forbid(unsafe_code)]

pub mod actor;
pub mod api;
pub mod busy;
pub mod cli;
pub mod clock;
pub mod data;
pub mod devnet;
pub mod entropy;
mod figures;
pub mod foreign;
pub mod genesis;
pub mod home;
pub mod http;
pub mod key;
pub mod node;
pub mod openai;
pub mod report;
pub mod state;
pub mod telemetry;
pub mod wallet;
pub mod words;
