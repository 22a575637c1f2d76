//! The operator's API: what the node's own socket is asked, and what it answers.
//!
//! One file per room. These are questions (`…Ask`) and answers (`…Answer`, and `…Line` for one row of a list); their
//! fields are the JSON keys. The command line and the web pages read and write the same types. Nothing here computes:
//! each room turns its own state into these types itself.

pub mod datanet;
pub mod dataset;
pub mod job;
pub mod peer;
pub mod pin;
pub mod status;
pub mod work;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::{Failure, Progress};

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// How far it is.
    Progress(Progress),
    /// A part of what was asked for, where that is many things.
    Part {
        /// The part.
        part: Value,
    },
    /// It is done, and this came of it.
    Done {
        /// What the command prints with `--json`.
        result: Value,
    },
    /// It failed.
    Failed(Failure),
}
