//! Base models of a home: stored by the hash of their content, found by name, opened for training and evaluation.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base::{home::Home, report::Kind};
use compute::{
    logits::{self, Answer, Request},
    model::{Model, Store, Stored, Text},
};

use crate::error::JobError;

/// Largest file of logits requests, in bytes; a larger one is refused.
const REQUESTS_BYTES_MAX: u64 = 64 << 20;

/// Files of a model's folder beside the weights. The configuration is copied last, because it marks the folder as a model.
const FILES_BESIDE_WEIGHTS: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
    "config.json",
];

/// A base model that is loaded for training or evaluation.
pub struct Opened {
    /// Weights, memory-mapped or read.
    pub model: Model,
    pub text: Text,
    pub name: String,
}

/// Opens the model store of a home, and creates it if there is none.
pub fn store(home: &Home) -> Result<Store, JobError> {
    Ok(Store::open(&home.models())?)
}

/// Finds a stored model by its name or the first digits of its hash.
pub fn find(store: &Store, name: &str) -> Result<Stored, JobError> {
    store.get(name).map_err(|error| {
        let text = error.to_string();
        JobError::refused_because(Kind::NotFound, text, error)
    })
}

/// Loads a model from a folder, or a stored model by its name.
pub fn open(home: &Home, name: &str) -> Result<Opened, JobError> {
    let dir = Path::new(name);
    if is_model(dir) {
        let model = Model::read(dir)?;
        let text = Text::load(dir, model.config())?;
        let name = dir
            .file_name()
            .map_or_else(|| name.to_owned(), |label| label.to_string_lossy().into_owned());
        return Ok(Opened { model, text, name });
    }
    let store = store(home)?;
    let stored = find(&store, name)?;
    let (model, text) = store.model(&stored)?;
    let name = stored.label;
    Ok(Opened { model, text, name })
}

/// Copies tokenizer and configuration of the base beside newly trained weights, so that the folder is a model.
pub fn complete(home: &Home, base: &str, out: &Path) -> Result<(), JobError> {
    let from = folder(home, base)?;
    for name in FILES_BESIDE_WEIGHTS {
        let file = from.join(name);
        if file.is_file() {
            fs::copy(&file, out.join(name)).map_err(JobError::file("copy", &file))?;
        }
    }
    Ok(())
}

fn folder(home: &Home, base: &str) -> Result<PathBuf, JobError> {
    let own = Path::new(base);
    if is_model(own) {
        return Ok(own.to_owned());
    }
    let store = store(home)?;
    Ok(store.dir(find(&store, base)?.hash))
}

fn is_model(dir: &Path) -> bool {
    dir.join("config.json").is_file()
}

/// Computes the logits of every position of the requests in a file, as one batch.
pub fn logits(dir: &Path, requests: &Path) -> Result<Vec<Answer>, JobError> {
    let text = read_small(requests, REQUESTS_BYTES_MAX)?;
    let asked: Vec<Request> = serde_json::from_slice(&text).map_err(|error| {
        let text = format!("{} is not a list of requests", requests.display());
        JobError::refused_because(Kind::Usage, text, error)
    })?;
    Ok(logits::logits(dir, &asked)?)
}

/// Reads a file, and refuses one that is larger than `bytes_max`.
pub(crate) fn read_small(file: &Path, bytes_max: u64) -> Result<Vec<u8>, JobError> {
    let length = fs::metadata(file).map_err(JobError::file("read", file))?.len();
    if length > bytes_max {
        let text = format!(
            "{} has {length} bytes; at most {bytes_max} are accepted",
            file.display()
        );
        return Err(JobError::refused(Kind::Usage, text));
    }
    fs::read(file).map_err(JobError::file("read", file))
}
