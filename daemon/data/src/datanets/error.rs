//! Errors of requests about datanets.

use protocol::{DatanetId, NodeId, datanet::InsertError, seal::KeyEpoch};

use crate::{open::StoreError, peer::Offline, record_list::RecordListError, requests::RequestError};
use base::{
    argument::InvalidArgument,
    report::{Failure, Kind},
};

/// Reason that a request about a datanet failed.
#[derive(Debug, thiserror::Error)]
pub enum DatanetError {
    #[error("this node does not know datanet {id:#}; `openledger datanet join {id} --from NODE` asks a member for it")]
    Absent { id: DatanetId },
    #[error(transparent)]
    Argument(#[from] InvalidArgument),
    #[error("{0}")]
    Denied(String),
    #[error("the statement is not valid in this datanet")]
    Learn(#[from] InsertError),
    #[error(transparent)]
    Record(#[from] RecordListError),
    #[error(transparent)]
    Secret(#[from] storage::secret::SecretError),
    #[error("could not open the store of datanet {id:#}")]
    Store {
        id: DatanetId,
        #[source]
        source: Box<StoreError>,
    },
    #[error("could not create or read {}", path.display())]
    Folder {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "this node does not hold key {epoch} of datanet {datanet:#}; `openledger datanet sync {datanet}` requests it"
    )]
    NoKey { datanet: DatanetId, epoch: KeyEpoch },
    #[error("node {node:#} did not reply")]
    Peer {
        node: NodeId,
        #[source]
        source: RequestError,
    },
    #[error(
        "node {node:#} gives no information about datanet {id:#}: it does not know it, or this node is not a member; ask the owner for a grant"
    )]
    NotAMember { node: NodeId, id: DatanetId },
    #[error(transparent)]
    Offline(#[from] Offline),
}

/// The failure that the operator's API reports.
impl From<DatanetError> for Failure {
    fn from(why: DatanetError) -> Self {
        Self::of(why.kind(), &why)
    }
}

impl DatanetError {
    /// Classifies the error, which decides the exit code of a command.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Absent { .. } | Self::NotAMember { .. } => Kind::NotFound,
            Self::Argument(_) => Kind::Usage,
            Self::Denied(_) | Self::NoKey { .. } | Self::Learn(InsertError::NotOwner { .. }) => Kind::Denied,
            Self::Learn(_) | Self::Record(_) | Self::Secret(_) | Self::Store { .. } | Self::Folder { .. } => {
                Kind::Failed
            }
            Self::Peer { .. } => Kind::Timeout,
            Self::Offline(_) => Kind::NotRunning,
        }
    }
}
