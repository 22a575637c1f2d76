//! What goes wrong in a datanet, and what to do.

use protocol::{DatanetId, NodeId, datanet::InsertError, seal::KeyEpoch};

use crate::{notes::NoteError, peer::Offline, stage::StoreError, talk::TalkError};
use base::report::{Failure, Kind};

/// Why something about a datanet was not done.
#[derive(Debug, thiserror::Error)]
pub enum DatanetError {
    /// It is not known here.
    #[error("datanet {id:#} is not known here; `openledger datanet join {id} --from NODE` asks a member for it")]
    Absent {
        /// Its name.
        id: DatanetId,
    },
    /// What was asked for cannot be meant.
    #[error("`{field}`: {what}")]
    Ask {
        /// The argument.
        field: &'static str,
        /// What is wrong with it and what would be right.
        what: String,
    },
    /// This node may not.
    #[error("{0}")]
    Denied(String),
    /// The charter or a statement is no good.
    #[error("that cannot be said in this datanet")]
    Learn(#[from] InsertError),
    /// It could not be remembered.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The owner's secret could not be kept.
    #[error(transparent)]
    Secret(#[from] storage::secret::SecretError),
    /// Its store does not open.
    #[error("the store of datanet {id:#} does not open")]
    Store {
        /// Which.
        id: DatanetId,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// Its folder cannot be made or read.
    #[error("could not make or read {}", path.display())]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no key to seal with.
    #[error(
        "the key of datanet {datanet:#}, epoch {epoch}, is not here; `openledger datanet sync {datanet}` asks for it"
    )]
    NoKey {
        /// Which datanet.
        datanet: DatanetId,
        /// Which epoch.
        epoch: KeyEpoch,
    },
    /// A peer did not answer.
    #[error("node {node:#} did not answer")]
    Peer {
        /// Who.
        node: NodeId,
        /// Why.
        #[source]
        source: TalkError,
    },
    /// A peer does not know it, or does not say.
    #[error(
        "node {node:#} says nothing about datanet {id:#}: it does not know it, or this node is no member; ask the owner for a grant"
    )]
    Silent {
        /// Who.
        node: NodeId,
        /// About what.
        id: DatanetId,
    },
    /// It needs peers, or a chain.
    #[error(transparent)]
    Offline(#[from] Offline),
}

/// As the command that asked shows it.
impl From<DatanetError> for Failure {
    fn from(why: DatanetError) -> Self {
        Self::of(why.kind(), &why)
    }
}

impl DatanetError {
    /// What kind of failure it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Absent { .. } | Self::Silent { .. } => Kind::NotFound,
            Self::Ask { .. } => Kind::Usage,
            Self::Denied(_) | Self::NoKey { .. } | Self::Learn(InsertError::NotOwner { .. }) => Kind::Denied,
            Self::Learn(_) | Self::Note(_) | Self::Secret(_) | Self::Store { .. } | Self::Folder { .. } => Kind::Failed,
            Self::Peer { .. } => Kind::Timeout,
            Self::Offline(_) => Kind::NotRunning,
        }
    }
}
