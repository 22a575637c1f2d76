//! How nodes talk: gossip to all, messages to one, questions with answers. Bytes in, bytes out.
//!
//! What the bytes mean is the business of others. Peers are named by [`protocol::NodeId`]; the names of the transport
//! never leave this crate. [`Net`] is the network, [`mem::MemNet`] the same conversations in memory under one seed.
//!
//! Peers of another chain cannot be heard: every protocol and topic carries the chain in its name. Nothing here is
//! reliable but the order of direct messages to a peer that stays connected; who must not miss something asks for it.

#![forbid(unsafe_code)]

mod announce;
mod behaviour;
mod codec;
pub mod data;
mod dialer;
mod direct;
mod handle;
mod identity;
pub mod mem;
mod metrics;
mod node;
mod settings;
mod standing;
mod streams;
mod vocabulary;

pub use direct::SendError;
pub use handle::{GossipError, NetHandle, RequestError};
pub use metrics::Metrics;
pub use node::Net;
pub use settings::{ChainTag, Limits, NetConfig, Seed, StartError};
pub use vocabulary::{GossipId, NetEvent, Offence, PeerInfo, RequestId, Topic, Verdict};
