//! Errors of requests about pins.

use std::{io, path::PathBuf};

use protocol::{BlobHash, DatanetId, NodeId};

use crate::{
    datanets::DatanetError, fetching::GetError, library::LibraryError, peer::Offline, record_list::RecordListError,
    requests::RequestError,
};
use base::{
    argument::InvalidArgument,
    report::{Failure, Kind},
};

/// Reason that a request about a pin failed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error(transparent)]
    Record(#[from] RecordListError),
    #[error("could not read {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Argument(#[from] InvalidArgument),
    #[error("{root:#} is not pinned in this home; `openledger pin ls` lists the pins")]
    Absent { root: BlobHash },
    #[error(
        "this node has no running deal about {root:#}; `openledger pin add {root} --copies N` makes one. A pin in this home \
         needs no renewal"
    )]
    NoDeal { root: BlobHash },
    #[error(
        "{root:#} belongs to the permissioned datanet {datanet:#}: only its members may keep copies, with `openledger pin add` on their own nodes"
    )]
    Sealed { root: BlobHash, datanet: DatanetId },
    /// Copies that failed their proof, one sentence each.
    #[error("{}", .0.join("; "))]
    Unverified(Vec<String>),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Offline(#[from] Offline),
    #[error("node {node:#} did not reply")]
    Peer {
        node: NodeId,
        #[source]
        source: RequestError,
    },
}

impl PinError {
    /// Classifies the error, which decides the exit code of a command.
    fn kind(&self) -> Kind {
        match self {
            Self::Record(_) | Self::Folder { .. } => Kind::Failed,
            Self::Argument(_) => Kind::Usage,
            Self::Absent { .. } | Self::NoDeal { .. } => Kind::NotFound,
            Self::Sealed { .. } => Kind::Denied,
            Self::Unverified(_) => Kind::Unverified,
            Self::Peer { .. } => Kind::Timeout,
            Self::Library(why) => why.kind(),
            Self::Offline(_) => Kind::NotRunning,
        }
    }
}

/// The failure that the operator's API reports.
impl From<PinError> for Failure {
    fn from(why: PinError) -> Self {
        Self::of(why.kind(), &why)
    }
}

impl From<DatanetError> for PinError {
    fn from(why: DatanetError) -> Self {
        Self::Library(why.into())
    }
}

impl From<GetError> for PinError {
    fn from(why: GetError) -> Self {
        Self::Library(why.into())
    }
}
