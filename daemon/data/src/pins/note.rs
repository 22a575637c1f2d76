//! What is remembered of a deal. A machine is what it was told, so what it was told is written down, before it acts.

use std::path::Path;

use bincode::{Decode, Encode};
use protocol::{
    Amount, NodeId, Time,
    crypto::Signed,
    machine::{Deal, HostInput, PinInput},
    proof::Bundle,
    receipt::{FalseProof, Outcome, RetrievalReceipt, StorageReceipt},
};

use crate::notes::{NoteError, Notes};

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

/// Begins the record of a deal; on disk when this returns.
pub(super) async fn begin(dir: &Path, signed: &Signed<Deal>, now: Time) -> Result<Notes, NoteError> {
    let notes = Notes::open(dir)?;
    notes.add(&[Note::Deal(Box::new(signed.clone()), now)]).await?;
    Ok(notes)
}

/// A deal that is remembered, when it was made or taken, and what came after.
pub(super) struct Remembered {
    pub(super) notes: Notes,
    pub(super) signed: Signed<Deal>,
    pub(super) at: Time,
    pub(super) rest: Vec<Note>,
}

/// Reads the record of a deal; none if nothing was promised yet.
pub(super) fn read(dir: &Path) -> Result<Option<Remembered>, NoteError> {
    let notes = Notes::open(dir)?;
    let mut records = notes.read::<Note>()?.into_iter();
    let Some(Note::Deal(signed, at)) = records.next() else {
        return Ok(None);
    };
    Ok(Some(Remembered {
        notes,
        signed: *signed,
        at,
        rest: records.collect(),
    }))
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
