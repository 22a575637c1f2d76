//! Requests and responses about serving a model and training one.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Serves a model and its adapters over the OpenAI API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeRequest {
    /// Folder of a model, or the name of a stored one.
    pub model: String,
    /// Folder whose subfolders are adapters.
    pub adapters: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// File with the API token, created if missing; `None` for the one in the home.
    pub token_file: Option<PathBuf>,
    /// True if clients need no token. Then it listens on loopback only.
    pub no_auth: bool,
    /// Model name for clients; `None` for the name of its folder.
    pub name: Option<String>,
    /// Origins of web pages that may send requests.
    pub origins: Vec<String>,
    /// `cpu`, `cuda`, `cuda:N`, or `auto`.
    pub device: String,
    /// Number of compute threads; 0 for all of the machine.
    pub threads: usize,
    /// Quantisation of the weights: `none`, `int8` or `int4`.
    pub quantize: String,
    /// Most bytes of memory of the engine, the mapped model excluded.
    pub memory_bytes_max: Option<u64>,
    /// Most bytes of adapters in host memory.
    pub adapter_bytes_max: u64,
    /// Most completions computed at once.
    pub rows_max: Option<usize>,
}

/// A model that is being served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeResponse {
    /// Base URL of the OpenAI API.
    pub url: String,
    /// Model name for clients.
    pub model: String,
    /// Content hash of the model.
    pub hash: String,
    /// Most tokens of a prompt and its completion together.
    pub context_tokens: usize,
    /// Number of usable adapters.
    pub adapters: usize,
    /// Unusable adapters, and why.
    pub refused: Vec<RefusedLine>,
    /// File with the API token; `None` if clients need none.
    pub token_file: Option<PathBuf>,
    /// Sandbox restrictions that this machine does not support.
    pub warnings: Vec<String>,
}

/// An adapter that is not served, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedLine {
    pub name: String,
    pub why: String,
}

/// Starts a training run in the node. The parts of the response are its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainRequest {
    /// Folder of a model, or the name of a stored one.
    pub base: String,
    /// Files, folders and roots of datasets, in the order of the run.
    pub data: Vec<String>,
    /// Hyper-parameters that differ from the defaults, by name.
    pub recipe: Value,
    /// Weight of each contributor; 1 for those not named.
    pub weights: BTreeMap<String, f64>,
    /// Folder for all output.
    pub out: PathBuf,
    /// `cpu`, `cuda`, `cuda:N`, or `auto`.
    pub device: String,
    /// Number of compute threads; `None` for all of the machine.
    pub threads: Option<usize>,
    /// Bytes for activations kept between forward and backward pass.
    pub keep_bytes: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints to keep; `None` for all.
    pub checkpoints_max: Option<usize>,
    /// Percentage of the time that the run computes.
    pub share: u32,
    /// The same while an engine of the same home is answering.
    pub share_beside: u32,
}
