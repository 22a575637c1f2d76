//! What can go wrong with what is shared, and what kind of failure each is to a command.

use std::io;

use super::{datanets::DatanetError, fetching::GetError, library::LibraryError, pins::PinError, work::WorkError};
use base::report::{Failure, Kind};

/// Why the store or the plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] storage::blob::OpenError),
    /// The folder cannot be made.
    #[error("could not make {}", dir.display())]
    Folder {
        /// Which.
        dir: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is known of datanets cannot be opened.
    #[error(transparent)]
    Datanets(#[from] Box<DatanetError>),
    /// Deals cannot be opened.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// What work is offered cannot be read.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// Peers cannot be served.
    #[error("data.listen, data.reach: {0}")]
    Plane(#[from] net::data::DataStartError),
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// With what is here.
    #[error(transparent)]
    Library(#[from] LibraryError),
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
    /// In a datanet.
    #[error(transparent)]
    Datanet(#[from] DatanetError),
    /// About copies.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// About work that is offered.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// It needs peers.
    #[error("that needs a running node; start it with `openledger daemon`")]
    Offline,
}

/// As the command that asked shows it.
impl From<DataError> for Failure {
    fn from(why: DataError) -> Self {
        let kind = match &why {
            DataError::Library(LibraryError::Ask { .. }) => Kind::Usage,
            DataError::Library(LibraryError::Absent { .. }) | DataError::Get(GetError::Nobody { .. }) => Kind::NotFound,
            DataError::Library(LibraryError::Read { source, .. }) if !is_absent(source) => Kind::Unverified,
            DataError::Unsound { .. } => Kind::Unverified,
            DataError::Get(GetError::Fetch(net::data::FetchError::NoProvider { .. })) => Kind::NotFound,
            DataError::Library(_) | DataError::Get(_) | DataError::Collect(_) | DataError::Check(_) => Kind::Failed,
            DataError::Datanet(why) => why.kind(),
            DataError::Pin(why) => why.kind(),
            DataError::Work(why) => why.kind(),
            DataError::Offline => Kind::NotRunning,
        };
        Self::of(kind, &why)
    }
}

/// Whether a blob that is not here is all that is wrong.
fn is_absent(error: &storage::dataset::ReadError) -> bool {
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
