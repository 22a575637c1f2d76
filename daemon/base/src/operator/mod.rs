//! The operator's API: requests to the node's own socket, and its responses.
//!
//! One file per area. `…Request` and `…Response` are whole messages, `…Line` is one row of a list; field names are the JSON
//! keys. Command line and web pages use the same types. Nothing here computes: each crate converts its own state.

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

/// One line of a streamed response. [`Line::Done`] and [`Line::Failed`] are last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    Progress(Progress),
    /// One item of a response that consists of many.
    Part {
        part: Value,
    },
    /// The operation succeeded.
    Done {
        /// The value that the command prints with `--json`.
        result: Value,
    },
    Failed(Failure),
}
