//! Requests and responses about compute work offered by this node and others.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{BlobHash, NodeId};
use serde::{Deserialize, Serialize};

/// The work that the operator offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRequest {
    /// `train`, `infer` or `audit`, each at most once.
    pub kinds: BTreeSet<String>,
    /// Price per million tokens of each kind that has one, such as "0.5 OPEN".
    pub prices: BTreeMap<String, String>,
}

/// This node's offer as it is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferResponse {
    /// `None` if nothing is offered.
    pub offer: Option<OfferRequest>,
    /// Hashes of the base models on this node.
    pub bases: Vec<BlobHash>,
    /// The compute device, such as `cpu`.
    pub device: String,
    pub threads: u16,
    /// Memory in GiB, rounded down.
    pub memory_gib: u16,
}

/// Another node's offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLine {
    pub node: NodeId,
    /// `train`, `infer` or `audit`.
    pub kinds: Vec<String>,
    /// Hashes of the base models it works on.
    pub bases: Vec<BlobHash>,
    /// Price per million tokens, by kind.
    pub prices: BTreeMap<String, String>,
    /// The compute device, such as `cpu`.
    pub device: String,
    pub threads: u16,
    /// Memory in GiB, rounded down.
    pub memory_gib: u16,
    /// End of the offer, in milliseconds since 1970.
    pub until_ms: u64,
}
