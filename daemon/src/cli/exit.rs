//! Exit codes for scripts, and error messages for people.
//!
//! | code | meaning                                  |
//! |------|------------------------------------------|
//! | 0    | done                                     |
//! | 1    | failed                                   |
//! | 2    | usage: the command was not understood    |
//! | 3    | the daemon is not running                |
//! | 4    | not found                                |
//! | 5    | permission denied                        |
//! | 6    | timed out                                |
//! | 7    | verification failed                      |
//!
//! With `--json` a failure also prints an object on stdout: `{"error": {"exit": 3, "message": "…", "causes": ["…"]}}`.

use std::{io, process::ExitCode};

use serde_json::json;
use storage::{JournalError, secret::SecretError};

use base::{key::KeyError, report::Kind};
use jobs::JobError;

use super::output;

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotRunning = 3,
    NotFound = 4,
    Denied = 5,
    Timeout = 6,
    Unverified = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Failed => Self::Failed,
            Kind::Usage => Self::Usage,
            Kind::NotFound => Self::NotFound,
            Kind::Denied => Self::Denied,
            Kind::Timeout => Self::Timeout,
            Kind::NotRunning => Self::NotRunning,
            Kind::Unverified => Self::Unverified,
        }
    }
}

/// An error with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Ended {
    exit: Exit,
    text: String,
}

/// Makes an error with this exit code and message. To keep a cause, attach it with `context`.
pub(crate) fn ended(exit: Exit, text: impl Into<String>) -> Ended {
    Ended {
        exit,
        text: text.into(),
    }
}

impl Exit {
    /// Chooses the exit code for an error from its type and causes.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(ended) = error.downcast_ref::<Ended>() {
            return ended.exit;
        }
        if let Some(job) = error.downcast_ref::<JobError>() {
            return job.kind().into();
        }
        let is_exposed = |cause: &(dyn std::error::Error + 'static)| {
            let secret = match cause.downcast_ref::<KeyError>() {
                Some(KeyError::File(secret)) => Some(secret),
                Some(KeyError::Content(_) | KeyError::Folder { .. }) | None => cause.downcast_ref::<SecretError>(),
            };
            matches!(secret, Some(SecretError::Exposed { .. }))
        };
        let kinds = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .map(io::Error::kind);
        let denied = kinds.clone().any(|kind| kind == io::ErrorKind::PermissionDenied);
        let is_corrupt = |cause: &(dyn std::error::Error + 'static)| {
            matches!(cause.downcast_ref::<JournalError>(), Some(JournalError::Corrupt(_)))
        };
        match () {
            () if error.chain().any(is_corrupt) => Self::Unverified,
            () if denied || error.chain().any(is_exposed) => Self::Denied,
            () if kinds.clone().any(|kind| kind == io::ErrorKind::NotFound) => Self::NotFound,
            () => Self::Failed,
        }
    }
}

/// Prints an error and its causes, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> Exit {
    let exit = Exit::of(error);
    let (message, causes) = message_and_causes(error);
    if json {
        output::line(&json!({ "error": { "exit": exit as u8, "message": message, "causes": causes } }).to_string());
    }
    output::note(&format!("error: {message}"));
    for cause in causes {
        output::note(&format!("  because: {cause}"));
    }
    exit
}

/// Returns the message and its causes, leaving out a cause whose text is part of the message or of another cause.
fn message_and_causes(error: &anyhow::Error) -> (String, Vec<String>) {
    let mut texts = vec![error.to_string()];
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !texts.iter().any(|text| text.contains(&cause)) {
            texts.push(cause);
        }
    }
    let message = texts.remove(0);
    (message, texts)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_failure_keeps_its_code_whatever_stands_in_front_of_it() {
        let plain = anyhow::Error::new(ended(Exit::NotRunning, "no node"));
        assert_eq!(Exit::of(&plain), Exit::NotRunning);
        assert_eq!(Exit::of(&plain.context("could not ask")), Exit::NotRunning);
        let cause: Result<(), _> = Err(io::Error::other("refused"));
        let above = cause.context(ended(Exit::Timeout, "too late")).unwrap_err();
        assert_eq!(Exit::of(&above), Exit::Timeout);
        assert_eq!(
            message_and_causes(&above),
            ("too late".to_owned(), vec!["refused".to_owned()])
        );
    }

    #[test]
    fn an_io_error_decides_the_exit_code_where_no_other_error_does() {
        let of = |kind| Exit::of(&anyhow::Error::new(io::Error::from(kind)).context("could not read x"));
        assert_eq!(of(io::ErrorKind::PermissionDenied), Exit::Denied);
        assert_eq!(of(io::ErrorKind::NotFound), Exit::NotFound);
        assert_eq!(of(io::ErrorKind::StorageFull), Exit::Failed);
        let exposed = SecretError::Exposed {
            file: "key".into(),
            mode: 0o644,
        };
        assert_eq!(Exit::of(&KeyError::File(exposed).into()), Exit::Denied);
        let corrupt = JournalError::Corrupt(storage::Corrupt {
            file: "log".into(),
            offset: 0,
            sequence: 0,
            what: "damaged",
            advice: "repair it",
        });
        assert_eq!(
            Exit::of(&anyhow::Error::new(corrupt).context("no start")),
            Exit::Unverified
        );
    }
}
