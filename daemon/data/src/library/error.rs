//! What goes wrong with datasets that are here, and what kind of failure each is to a command.

use std::io;

use protocol::BlobHash;
use storage::{
    blob::ReadError,
    dataset::{self, IngestError, RestoreError},
};

use crate::{datanets::DatanetError, fetching::GetError, peer::Offline};
use base::report::{Failure, Kind};

/// Why something about a dataset failed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// What was asked for cannot be meant.
    #[error("`{field}`: {what}")]
    Ask {
        /// The argument.
        field: &'static str,
        /// What is wrong with it and what would be right.
        what: String,
    },
    /// It is not here.
    #[error("dataset {root:#} is not here; `openledger data get {root}` fetches it")]
    Absent {
        /// Its name.
        root: BlobHash,
    },
    /// The import failed.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// It cannot be read.
    #[error("dataset {root:#} cannot be read")]
    Read {
        /// Its name.
        root: BlobHash,
        /// Why.
        #[source]
        source: dataset::ReadError,
    },
    /// A record of it is none that can be learned from.
    #[error(transparent)]
    Object(#[from] dataset::ObjectError),
    /// Its sealed blobs cannot be opened, or its root not be stored.
    #[error("dataset {root:#} cannot be opened or stored")]
    Seal {
        /// Its name.
        root: BlobHash,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its files were not written.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// It could not be kept, or not be let go.
    #[error(transparent)]
    Pin(#[from] storage::blob::PinError),
    /// It is not safely on disk.
    #[error(transparent)]
    Settle(#[from] storage::blob::SettleError),
    /// Its blobs could not be looked at.
    #[error(transparent)]
    Blob(#[from] ReadError),
    /// It did not come.
    #[error(transparent)]
    Get(#[from] GetError),
    /// Not every blob can be deleted.
    #[error(transparent)]
    Collect(#[from] storage::blob::CollectError),
    /// The check did not end.
    #[error(transparent)]
    Check(#[from] storage::blob::FsckError),
    /// Some of what is kept is not what it should be.
    #[error(
        "{damaged} blobs are damaged and {missing} are missing; `openledger repo fsck --drop-damaged` and then \
             `openledger data get` of what misses them mend it"
    )]
    Unsound {
        /// How many are damaged.
        damaged: usize,
        /// How many are missing.
        missing: usize,
    },
    /// In the datanet that it is for.
    #[error(transparent)]
    Datanet(#[from] DatanetError),
    /// It needs peers.
    #[error(transparent)]
    Offline(#[from] Offline),
    /// Whoever asked went away.
    #[error("it was called off")]
    CalledOff,
}

impl LibraryError {
    /// What kind of failure it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Ask { .. } => Kind::Usage,
            Self::Absent { .. } | Self::Get(GetError::Nobody { .. }) => Kind::NotFound,
            Self::Get(GetError::Fetch(net::data::FetchError::NoProvider { .. })) => Kind::NotFound,
            Self::Read { source, .. } if !is_absent(source) => Kind::Unverified,
            Self::Unsound { .. } => Kind::Unverified,
            Self::Datanet(why) => why.kind(),
            Self::Offline(_) => Kind::NotRunning,
            Self::Ingest(_)
            | Self::Read { .. }
            | Self::Object(_)
            | Self::Seal { .. }
            | Self::Restore(_)
            | Self::Pin(_)
            | Self::Settle(_)
            | Self::Blob(_)
            | Self::Get(_)
            | Self::Collect(_)
            | Self::Check(_)
            | Self::CalledOff => Kind::Failed,
        }
    }
}

/// As the command that asked shows it.
impl From<LibraryError> for Failure {
    fn from(why: LibraryError) -> Self {
        Self::of(why.kind(), &why)
    }
}

/// Whether a blob that is not here is all that is wrong.
fn is_absent(error: &dataset::ReadError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
