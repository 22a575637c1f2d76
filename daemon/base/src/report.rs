//! What is said of work to whoever asked for it: how far it is, and why it failed.
//!
//! Rooms that work speak in these words, and the interfaces show them. Leaves out how they travel.

use serde::{Deserialize, Serialize};

/// How far something is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, such as `reading corpus.jsonl`.
    pub what: String,
    /// How much of it.
    pub done: u64,
    /// Of how much, where that is known.
    pub total: Option<u64>,
    /// Who helps, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
}

/// A node that bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its short name.
    pub node: String,
    /// Verified bytes from it.
    pub bytes: u64,
    /// Of late.
    pub bytes_per_s: u64,
    /// Through a relay or straight.
    pub relayed: bool,
}

/// What kind of failure it is: the command's exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It failed.
    Failed,
    /// The question cannot be meant.
    Usage,
    /// What was asked for does not exist.
    NotFound,
    /// Not allowed.
    Denied,
    /// Not in time.
    Timeout,
    /// It needs a running node, and this is none.
    NotRunning,
    /// Something does not verify.
    Unverified,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind it is.
    pub kind: Kind,
    /// What failed and what to do.
    pub message: String,
    /// What was behind it.
    pub causes: Vec<String>,
}

impl Failure {
    /// A failure that has no other behind it.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (message, causes) = (message.into(), Vec::new());
        Self { kind, message, causes }
    }

    /// An error and all that caused it.
    pub fn of(kind: Kind, error: &dyn std::error::Error) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut cause = error.source();
        while let Some(deeper) = cause {
            failure.causes.push(deeper.to_string());
            cause = deeper.source();
        }
        failure
    }
}
