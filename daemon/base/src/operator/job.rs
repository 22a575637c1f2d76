//! Work with models: a model that is served, and a training run.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Asks that a model and its adapters are served over the OpenAI API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeAsk {
    /// A model's folder, or the name of one that is kept.
    pub model: String,
    /// The folder of adapters, each a folder in it.
    pub adapters: Option<PathBuf>,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file with the token that clients send, which is made if it is not there; the home's own if none is named.
    pub token_file: Option<PathBuf>,
    /// Whether clients need no token. Only this machine is answered then.
    pub no_auth: bool,
    /// What clients call the model; the name of its folder if none.
    pub name: Option<String>,
    /// Web pages that may ask.
    pub origins: Vec<String>,
    /// `cpu`, `cuda`, `cuda:N`, or `auto`.
    pub device: String,
    /// Threads that compute; 0 takes all there are.
    pub threads: usize,
    /// How the weights are kept in memory: `none`, `int8` or `int4`.
    pub quantize: String,
    /// Bytes that the engine may take beside the model's file.
    pub memory_bytes_max: Option<u64>,
    /// Bytes that adapters may take in memory.
    pub adapter_bytes_max: u64,
    /// Answers that are worked on at once.
    pub rows_max: Option<usize>,
}

/// A model that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeAnswer {
    /// Where the OpenAI API is.
    pub url: String,
    /// What clients call the model.
    pub model: String,
    /// The model's content.
    pub hash: String,
    /// Tokens of a prompt and its answer at most.
    pub context_tokens: usize,
    /// Adapters that are there.
    pub adapters: usize,
    /// Adapters that are not, and why.
    pub refused: Vec<RefusedLine>,
    /// The file of the token; none where clients need none.
    pub token_file: Option<PathBuf>,
    /// What keeps the engine apart from the machine and does not hold here.
    pub warnings: Vec<String>,
}

/// An adapter that is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedLine {
    pub name: String,
    pub why: String,
}

/// Asks for a training run in the node. Its events are the parts of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainAsk {
    /// A model's folder, or the name of one that is kept.
    pub base: String,
    /// Files, folders and roots of datasets, in the order of the run.
    pub data: Vec<String>,
    /// Hyper-parameters that differ from the usual ones, by their names.
    pub recipe: Value,
    /// How much each contributor counts; 1 for those not named.
    pub weights: BTreeMap<String, f64>,
    /// The folder that everything goes to.
    pub out: PathBuf,
    /// `cpu`, `cuda`, `cuda:N`, or `auto`.
    pub device: String,
    /// Threads that compute; all there are if none.
    pub threads: Option<usize>,
    /// Bytes for what is kept between forward and backward pass.
    pub keep_bytes: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept; all if none.
    pub checkpoints_max: Option<usize>,
    /// How much of the time the run is busy, in percent.
    pub share: u32,
    /// How much of it while an engine answers in the same home, in percent.
    pub share_beside: u32,
}
