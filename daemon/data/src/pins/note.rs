//! What is remembered of a deal. A machine is what it was told, so what it was told is written down, before it acts.

use bincode::{Decode, Encode};
use protocol::{
    Amount, NodeId, Time,
    crypto::Signed,
    machine::{Deal, HostInput, PinInput},
    proof::Bundle,
    receipt::{FalseProof, Outcome, RetrievalReceipt, StorageReceipt},
};

/// One record.
#[derive(Clone, Encode, Decode)]
pub(super) enum Note {
    /// The terms; the first of all.
    Deal(Box<Signed<Deal>>, Time),
    /// What the owner's machine was told.
    Owner(Time, OwnerSaid),
    /// What the host's machine was told.
    Host(Time, HostSaid),
    /// A verdict.
    Storage(Signed<StorageReceipt>),
    /// What a peer got that asked for a chunk.
    Retrieval(Signed<RetrievalReceipt>),
    /// A host's signature under proofs that do not verify.
    False(Box<FalseProof>),
}

/// [`PinInput`] on disk.
#[derive(Clone, Encode, Decode)]
pub(super) enum OwnerSaid {
    Candidate(NodeId),
    Accepted(NodeId),
    Declined(NodeId),
    Registered { host: NodeId, part: u32, bundle: Bundle },
    Audited { host: NodeId, epoch: u64, outcome: Outcome },
    Renewed { until: Time, escrow: Amount },
    Cancelled,
    Tick,
}

impl From<OwnerSaid> for PinInput {
    fn from(said: OwnerSaid) -> Self {
        match said {
            OwnerSaid::Candidate(node) => Self::Candidate(node),
            OwnerSaid::Accepted(node) => Self::Accepted(node),
            OwnerSaid::Declined(node) => Self::Declined(node),
            OwnerSaid::Registered { host, part, bundle } => Self::Registered { host, part, bundle },
            OwnerSaid::Audited { host, epoch, outcome } => Self::Audited { host, epoch, outcome },
            OwnerSaid::Renewed { until, escrow } => Self::Renewed { until, escrow },
            OwnerSaid::Cancelled => Self::Cancelled,
            OwnerSaid::Tick => Self::Tick,
        }
    }
}

/// Those of [`HostInput`] that change what a host will do after a restart. A challenge is asked again.
#[derive(Clone, Encode, Decode)]
pub(super) enum HostSaid {
    Fetched,
    Registering(Bundle),
    Registered { part: u32 },
    Damaged,
    Renewed { until: Time },
    Released,
    Tick,
}

impl From<HostSaid> for HostInput {
    fn from(said: HostSaid) -> Self {
        match said {
            HostSaid::Fetched => Self::Fetched,
            HostSaid::Registering(bundle) => Self::Proven(bundle),
            HostSaid::Registered { part } => Self::Registered { part },
            HostSaid::Damaged => Self::Damaged,
            HostSaid::Renewed { until } => Self::Renewed { until },
            HostSaid::Released => Self::Released,
            HostSaid::Tick => Self::Tick,
        }
    }
}
