//! Progress and failure of an operation, as reported to its caller.
//!
//! Every crate that works on request reports in these types, and the interfaces show them. How they travel is defined
//! elsewhere.

use serde::{Deserialize, Serialize};

/// Progress of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The current activity, such as `reading corpus.jsonl`.
    pub what: String,
    /// Amount done, in the unit of the activity.
    pub done: u64,
    /// Total amount, if known.
    pub total: Option<u64>,
    /// Nodes that bytes come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
}

/// A node that bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its short id.
    pub node: String,
    /// Verified bytes received from it.
    pub bytes: u64,
    /// Recent rate.
    pub bytes_per_s: u64,
    /// True if the connection goes through a relay.
    pub relayed: bool,
}

/// The kind of a failure; it determines the command's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Failed,
    /// The request is invalid.
    Usage,
    /// The thing named in the request does not exist.
    NotFound,
    Denied,
    Timeout,
    /// The operation needs a running node, and none is.
    NotRunning,
    /// A hash, signature or proof does not verify.
    Unverified,
}

/// A failed operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: Kind,
    /// A description of the failure and what to do.
    pub message: String,
    /// Messages of the underlying errors, outermost first.
    pub causes: Vec<String>,
}

impl Failure {
    /// A failure without an underlying error.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (message, causes) = (message.into(), Vec::new());
        Self { kind, message, causes }
    }

    /// A failure made from an error and its chain of sources.
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
