//! Errors of requests about datasets, and the kind of failure that each is to a command.

use std::io;

use protocol::BlobHash;
use storage::{
    blob::ReadError,
    dataset::{self, IngestError, RestoreError},
};

use crate::{datanets::DatanetError, fetching::GetError, peer::Offline};
use base::{
    argument::InvalidArgument,
    report::{Failure, Kind},
};

/// Reason that a request about a dataset failed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error(transparent)]
    Argument(#[from] InvalidArgument),
    #[error("dataset {root:#} is not in this home; `openledger data get {root}` fetches it")]
    Absent { root: BlobHash },
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error("could not read dataset {root:#}")]
    Read {
        root: BlobHash,
        #[source]
        source: dataset::ReadError,
    },
    #[error(transparent)]
    Object(#[from] dataset::ObjectError),
    #[error("could not decrypt or store dataset {root:#}")]
    Seal {
        root: BlobHash,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Pin(#[from] storage::blob::PinError),
    #[error(transparent)]
    Settle(#[from] storage::blob::SettleError),
    #[error(transparent)]
    Blob(#[from] ReadError),
    #[error(transparent)]
    Get(#[from] GetError),
    #[error(transparent)]
    Collect(#[from] storage::blob::CollectError),
    #[error(transparent)]
    Check(#[from] storage::blob::FsckError),
    #[error(
        "{damaged} blobs are damaged and {missing} are missing; run `openledger repo fsck --drop-damaged`, then \
             `openledger data get` for each incomplete dataset"
    )]
    Unsound { damaged: usize, missing: usize },
    #[error(transparent)]
    Datanet(#[from] DatanetError),
    #[error(transparent)]
    Offline(#[from] Offline),
    /// The client of the request closed its connection.
    #[error("the request was cancelled")]
    Cancelled,
}

impl LibraryError {
    /// Classifies the error, which decides the exit code of a command.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Argument(_) => Kind::Usage,
            Self::Absent { .. } | Self::Get(GetError::NoProvider { .. }) => Kind::NotFound,
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
            | Self::Cancelled => Kind::Failed,
        }
    }
}

/// The failure that the operator's API reports.
impl From<LibraryError> for Failure {
    fn from(why: LibraryError) -> Self {
        Self::of(why.kind(), &why)
    }
}

/// Returns true if the cause is a missing blob, and not a damaged one.
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
