//! What goes wrong with pins, and what to do.

use std::{io, path::PathBuf};

use protocol::{BlobHash, DatanetId, NodeId};

use crate::{
    datanets::DatanetError, fetching::GetError, library::LibraryError, notes::NoteError, peer::Offline, talk::TalkError,
};
use base::report::{Failure, Kind};

/// Why something about a pin was not done.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It could not be remembered.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The folder of deals cannot be read.
    #[error("could not read {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was asked for cannot be meant.
    #[error("`{field}`: {what}")]
    Ask {
        /// The argument.
        field: &'static str,
        /// What is wrong with it and what would be right.
        what: String,
    },
    /// There are no such pins.
    #[error("{root:#} is not pinned here; `openledger pin ls` shows what is")]
    Absent {
        /// The dataset.
        root: BlobHash,
    },
    /// There is nothing to renew.
    #[error(
        "no deal of this node about {root:#} runs; `openledger pin add {root} --copies N` makes one, and a dataset that is \
         kept here only needs no renewal"
    )]
    NoDeal {
        /// The dataset.
        root: BlobHash,
    },
    /// Copies of what only members may read.
    #[error("{root:#} belongs to datanet {datanet:#}, whose members alone may keep it; they pin it themselves")]
    Sealed {
        /// The dataset.
        root: BlobHash,
        /// The datanet.
        datanet: DatanetId,
    },
    /// Somebody does not have what it should have.
    #[error("{}", .0.join("; "))]
    Unverified(Vec<String>),
    /// With the datasets that are here.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// It needs peers.
    #[error(transparent)]
    Offline(#[from] Offline),
    /// A peer did not answer.
    #[error("node {node:#} did not answer")]
    Peer {
        /// Who.
        node: NodeId,
        /// Why.
        #[source]
        source: TalkError,
    },
}

impl PinError {
    /// What kind of failure it is.
    fn kind(&self) -> Kind {
        match self {
            Self::Note(_) | Self::Folder { .. } => Kind::Failed,
            Self::Ask { .. } => Kind::Usage,
            Self::Absent { .. } | Self::NoDeal { .. } => Kind::NotFound,
            Self::Sealed { .. } => Kind::Denied,
            Self::Unverified(_) => Kind::Unverified,
            Self::Peer { .. } => Kind::Timeout,
            Self::Library(why) => why.kind(),
            Self::Offline(_) => Kind::NotRunning,
        }
    }
}

/// As the command that asked shows it.
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
