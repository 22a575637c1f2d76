//! Work: offered by this node, and by others.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{BlobHash, NodeId};
use serde::{Deserialize, Serialize};

/// What the operator offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferAsk {
    /// `train`, `infer` or `audit`, each at most once.
    pub kinds: BTreeSet<String>,
    /// For a million tokens of each kind that has a price, such as "0.5 OPEN".
    pub prices: BTreeMap<String, String>,
}

/// What this node offers, as it is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferAnswer {
    /// None if nothing is offered.
    pub offer: Option<OfferAsk>,
    /// Base models that are here, by their content.
    pub bases: Vec<BlobHash>,
    /// What computes, such as `cpu`.
    pub device: String,
    /// Threads of the processor.
    pub threads: u16,
    /// Rounded down.
    pub memory_gib: u16,
}

/// A node that offers work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLine {
    pub node: NodeId,
    /// `train`, `infer` or `audit`.
    pub kinds: Vec<String>,
    /// Base models it works on, by their content.
    pub bases: Vec<BlobHash>,
    /// For a million tokens, by kind.
    pub prices: BTreeMap<String, String>,
    /// What computes, such as `cpu`.
    pub device: String,
    /// Threads of its processor.
    pub threads: u16,
    /// Rounded down.
    pub memory_gib: u16,
    /// When the offer ends, in milliseconds since 1970.
    pub until_ms: u64,
}
