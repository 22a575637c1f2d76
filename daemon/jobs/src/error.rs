//! Errors of jobs, and the kind of failure that each is to a client.

use std::{error::Error, io, path::Path};

use base::report::{Failure, Kind};
use compute::{
    device::DeviceError,
    logits::LogitsError,
    lora::LoadError,
    model::{ModelError, StoreError},
};
use serve::loader::BaseError;
use storage::secret::SecretError;
use train::{DataError, RecipeError, TrainError, comparison::EvalSetError};

/// Reason that a job failed. [`JobError::kind`] decides the exit code of a command.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The request is wrong; the text says what to change.
    #[error("{text}")]
    Refused {
        kind: Kind,
        text: String,
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error(transparent)]
    Adapter(#[from] LoadError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Logits(#[from] LogitsError),
    #[error(transparent)]
    Records(#[from] DataError),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    EvalSet(#[from] EvalSetError),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl JobError {
    /// Refuses a request; the text says what to change.
    pub fn refused(kind: Kind, text: impl Into<String>) -> Self {
        let (text, source) = (text.into(), None);
        Self::Refused { kind, text, source }
    }

    /// Refuses a request because of another error.
    pub fn refused_because(kind: Kind, text: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        let (text, source) = (text.into(), Some(source.into()));
        Self::Refused { kind, text, source }
    }

    /// For `map_err`: an error that says "could not `what` `file`".
    pub(crate) fn file(what: &str, file: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("could not {what} {}", file.display());
        move |source| Self::Io { what, source }
    }

    /// Classifies the error.
    pub fn kind(&self) -> Kind {
        let refused = match self {
            // The source may be more specific.
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

    /// Classifies by the first I/O error among the causes.
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

/// Returns true if the records are wrong, and not the disk that they are on.
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
