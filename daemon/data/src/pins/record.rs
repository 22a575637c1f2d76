//! The records of a deal on disk. A machine's state follows from its inputs, so the inputs are recorded, before the machine
//! acts on them, and replayed at the next start.

use std::path::Path;

use bincode::{Decode, Encode};
use protocol::{
    Amount, NodeId, Time,
    crypto::Signed,
    machine::{Deal, HostInput, PinInput},
    proof::Bundle,
    receipt::{FalseProof, Outcome, RetrievalReceipt, StorageReceipt},
};

use crate::record_list::{RecordList, RecordListError};

/// One record of a deal.
#[derive(Clone, Encode, Decode)]
pub(super) enum Record {
    /// The signed terms and the time of the deal; always the first record.
    Deal(Box<Signed<Deal>>, Time),
    /// An input of the owner's machine.
    Owner(Time, PinRecord),
    /// An input of the host's machine.
    Host(Time, HostRecord),
    /// The signed result of an audit.
    Storage(Signed<StorageReceipt>),
    /// The signed result of a chunk request to a host.
    Retrieval(Signed<RetrievalReceipt>),
    /// Evidence: a host's signature under a false proof.
    False(Box<FalseProof>),
}

/// Starts the records of a deal. They are durable when this returns.
pub(super) async fn begin(dir: &Path, signed: &Signed<Deal>, now: Time) -> Result<RecordList, RecordListError> {
    let records = RecordList::open(dir)?;
    records.add(&[Record::Deal(Box::new(signed.clone()), now)]).await?;
    Ok(records)
}

/// A deal read from disk: its terms, the time it was made, and the later records.
pub(super) struct Remembered {
    pub(super) records: RecordList,
    pub(super) signed: Signed<Deal>,
    pub(super) at: Time,
    pub(super) rest: Vec<Record>,
}

/// Reads the records of a deal; `None` if a crash left none.
pub(super) fn read(dir: &Path) -> Result<Option<Remembered>, RecordListError> {
    let list = RecordList::open(dir)?;
    let mut records = list.read::<Record>()?.into_iter();
    let Some(Record::Deal(signed, at)) = records.next() else {
        return Ok(None);
    };
    Ok(Some(Remembered {
        records: list,
        signed: *signed,
        at,
        rest: records.collect(),
    }))
}

/// [`PinInput`] as it is stored.
#[derive(Clone, Encode, Decode)]
pub(super) enum PinRecord {
    Candidate(NodeId),
    Accepted(NodeId),
    Declined(NodeId),
    Registered { host: NodeId, part: u32, bundle: Bundle },
    Audited { host: NodeId, epoch: u64, outcome: Outcome },
    Renewed { until: Time, escrow: Amount },
    Cancelled,
    Tick,
}

impl From<PinRecord> for PinInput {
    fn from(said: PinRecord) -> Self {
        match said {
            PinRecord::Candidate(node) => Self::Candidate(node),
            PinRecord::Accepted(node) => Self::Accepted(node),
            PinRecord::Declined(node) => Self::Declined(node),
            PinRecord::Registered { host, part, bundle } => Self::Registered { host, part, bundle },
            PinRecord::Audited { host, epoch, outcome } => Self::Audited { host, epoch, outcome },
            PinRecord::Renewed { until, escrow } => Self::Renewed { until, escrow },
            PinRecord::Cancelled => Self::Cancelled,
            PinRecord::Tick => Self::Tick,
        }
    }
}

/// The [`HostInput`]s that are stored. Challenges are not: the owner repeats them.
#[derive(Clone, Encode, Decode)]
pub(super) enum HostRecord {
    Fetched,
    Registering(Bundle),
    Registered { part: u32 },
    Damaged,
    Renewed { until: Time },
    Released,
    Tick,
}

impl From<HostRecord> for HostInput {
    fn from(said: HostRecord) -> Self {
        match said {
            HostRecord::Fetched => Self::Fetched,
            HostRecord::Registering(bundle) => Self::Proven(bundle),
            HostRecord::Registered { part } => Self::Registered { part },
            HostRecord::Damaged => Self::Damaged,
            HostRecord::Renewed { until } => Self::Renewed { until },
            HostRecord::Released => Self::Released,
            HostRecord::Tick => Self::Tick,
        }
    }
}
