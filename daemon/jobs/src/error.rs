//! Why a job was not done, for whoever asked: a command, a page or a peer.

use std::{error::Error, io, path::Path};

use base::report::{Failure, Kind};
use compute::{
    device::DeviceError,
    logits::LogitsError,
    lora::LoadError,
    model::{ModelError, StoreError},
};
use serve::assemble::BaseError;
use storage::secret::SecretError;
use train::{DataError, RecipeError, TrainError, comparison::EvalSetError};

/// Why a job was not done. [`JobError::kind`] says what the asker can do about it.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The request cannot be done as it is; the text says what to change.
    #[error("{text}")]
    Refused {
        /// What kind of mistake it is.
        kind: Kind,
        /// What is wrong, and what to change.
        text: String,
        /// What was behind it, if something was.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// A file could not be read, written or made.
    #[error("{what}")]
    Io {
        /// What was tried, with the file.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The store of models refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A stored model cannot be served.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// An adapter cannot be used.
    #[error(transparent)]
    Adapter(#[from] LoadError),
    /// There is no such device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Logits could not be computed.
    #[error(transparent)]
    Logits(#[from] LogitsError),
    /// Records cannot be learnt from.
    #[error(transparent)]
    Records(#[from] DataError),
    /// Hyper-parameters cannot be meant.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The run failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The examination failed.
    #[error(transparent)]
    EvalSet(#[from] EvalSetError),
    /// A secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl JobError {
    /// A request that cannot be done as it is.
    pub fn refused(kind: Kind, text: impl Into<String>) -> Self {
        let (text, source) = (text.into(), None);
        Self::Refused { kind, text, source }
    }

    /// The same, with what was behind it.
    pub fn refused_because(kind: Kind, text: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        let (text, source) = (text.into(), Some(source.into()));
        Self::Refused { kind, text, source }
    }

    /// For `map_err`: a file with which `what` failed.
    pub(crate) fn file(what: &str, file: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("could not {what} {}", file.display());
        move |source| Self::Io { what, source }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        let refused = match self {
            // What was behind it may say more.
            Self::Refused { kind: Kind::Failed, .. } => false,
            Self::Refused { kind, .. } => return *kind,
            Self::Recipe(_) | Self::Device(_) => true,
            Self::Records(why) => is_of_data(why),
            Self::EvalSet(EvalSetError::Data(why)) => is_of_data(why),
            Self::EvalSet(EvalSetError::ContextTooSmall { .. }) => true,
            Self::Train(TrainError::Data(why)) => is_of_data(why),
            Self::Train(TrainError::Recipe(_) | TrainError::Records(_)) => true,
            Self::Train(_)
            | Self::Io { .. }
            | Self::Store(_)
            | Self::Model(_)
            | Self::Base(_)
            | Self::Adapter(_)
            | Self::Logits(_) => false,
            Self::Secret(SecretError::Exposed { .. }) => return Kind::Denied,
            Self::Secret(_) => false,
        };
        match refused {
            true => Kind::Usage,
            false => self.kind_of_io(),
        }
    }

    /// What the system said decides where nothing else did.
    fn kind_of_io(&self) -> Kind {
        let mut next: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(cause) = next {
            match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::PermissionDenied) => return Kind::Denied,
                Some(io::ErrorKind::NotFound) => return Kind::NotFound,
                Some(_) | None => next = cause.source(),
            }
        }
        Kind::Failed
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        Self::of(error.kind(), &error)
    }
}

/// Whether records are wrong, and not the disk they are on.
fn is_of_data(why: &DataError) -> bool {
    !matches!(why, DataError::Read { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_said_decides_where_nothing_else_did() {
        let file = JobError::file("read", Path::new("x"));
        assert_eq!(file(io::Error::from(io::ErrorKind::NotFound)).kind(), Kind::NotFound);
        let file = JobError::file("read", Path::new("x"));
        assert_eq!(file(io::Error::other("torn")).kind(), Kind::Failed);
        let behind = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(
            JobError::refused_because(Kind::Failed, "no adapter", behind).kind(),
            Kind::NotFound
        );
        assert_eq!(JobError::refused(Kind::Timeout, "late").kind(), Kind::Timeout);
    }
}
