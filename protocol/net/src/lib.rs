//! The network: gossip, direct messages and requests between nodes, over libp2p; blobs and byte streams, over iroh.
//!
//! Everything here is bytes; their meaning belongs to the callers. Peers are identified by [`protocol::NodeId`] alone, the
//! ids of libp2p and iroh never leave this crate. Every protocol and topic name contains the chain, so nodes of different
//! chains cannot talk. Nothing is reliable except the order of direct messages to a peer that stays connected: a node that
//! must not miss something requests it.
//!
//! # Where to change what
//!
//! | module | content |
//! |---|---|
//! | [`Net`], [`NetHandle`], [`NetEvent`] | starting the control plane, commands to it, events from it |
//! | `behaviour`, `codec`, `streams`, `direct` | libp2p's protocols and their limits, framing, direct messages |
//! | `node` | the network task: connected peers, messages, provider records |
//! | `announce`, `dialer`, `peer_scores` | pure rules: admission of announcements, redialling, offences and bans |
//! | [`data`] | the data plane: endpoint, serving with admission, fetching from many providers, rate limits |
//! | [`mem`] | the in-memory network of the simulator |
//! | `metrics`, `settings` | counters, configuration |
//!
//! # Why libp2p and iroh beside each other
//!
//! libp2p has gossip, a directory (kad) and request-response, which consensus and discovery need; iroh has verified blob
//! transfer over QUIC, which bulk data needs. Neither replaces the other: gossip used as a data channel drops messages
//! silently, so anything above 16 KiB travels as a hash in gossip and as a blob over iroh. The price is two sockets and two
//! ways through NAT. One ed25519 seed gives both their identity, so no directory maps one to the other.
//!
//! # Glossary
//!
//! - **control plane**: libp2p. **Data plane**: iroh.
//! - **announcement**: a gossiped, signed statement. **Claim**: a signed statement that a node has a blob.
//! - **offence**: reported misbehaviour; enough of it is a **ban**.
//! - **provider**: a node that serves a blob. **Admission**: the rule that decides which peers may fetch what.

#![forbid(unsafe_code)]

mod announce;
mod behaviour;
mod codec;
pub mod data;
mod dialer;
mod direct;
mod handle;
mod identity;
mod interface;
pub mod mem;
mod metrics;
mod node;
mod peer_scores;
mod settings;
mod streams;

pub use direct::SendError;
pub use handle::{GossipError, NetHandle, RequestError};
pub use interface::{GossipId, NetEvent, Offence, PeerInfo, RequestId, Topic, Verdict};
pub use metrics::Metrics;
pub use node::Net;
pub use settings::{ChainTag, Limits, NetConfig, Seed, StartError};
