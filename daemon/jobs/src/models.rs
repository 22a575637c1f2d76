//! The base models of a home: stored by content hash, found by name, opened for training or evaluation.

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

/// Largest file of requests for logits; a longer one is refused.
const REQUESTS_BYTES_MAX: u64 = 64 << 20;

/// Files of a model besides its weights. The configuration comes last, because its presence makes the folder a model.
const OF_A_MODEL: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
    "config.json",
];

/// A model opened for training or evaluation.
pub struct Opened {
    /// Weights, mapped or read.
    pub model: Model,
    pub text: Text,
    /// Name of its folder, or label in the store.
    pub name: String,
}

/// Opens the model store of a home, created if missing.
pub fn store(home: &Home) -> Result<Store, JobError> {
    Ok(Store::open(&home.models())?)
}

/// Finds a stored model by its name or a prefix of its hash.
pub fn find(store: &Store, name: &str) -> Result<Stored, JobError> {
    store.get(name).map_err(|error| {
        let text = error.to_string();
        JobError::refused_because(Kind::NotFound, text, error)
    })
}

/// Opens a model folder, or a stored model by its name.
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

/// Copies tokenizer and configuration from the base to trained weights, so that the folder is a complete model.
pub fn complete(home: &Home, base: &str, out: &Path) -> Result<(), JobError> {
    let from = folder(home, base)?;
    for name in OF_A_MODEL {
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

/// Computes the logits of every position for the requests in a file, as one batch.
pub fn logits(dir: &Path, requests: &Path) -> Result<Vec<Answer>, JobError> {
    let text = read_small(requests, REQUESTS_BYTES_MAX)?;
    let asked: Vec<Request> = serde_json::from_slice(&text).map_err(|error| {
        let text = format!("{} is no list of requests", requests.display());
        JobError::refused_because(Kind::Usage, text, error)
    })?;
    Ok(logits::logits(dir, &asked)?)
}

/// Reads a file; refuses one longer than `bytes_max`.
pub(crate) fn read_small(file: &Path, bytes_max: u64) -> Result<Vec<u8>, JobError> {
    let length = fs::metadata(file).map_err(JobError::file("read", file))?.len();
    if length > bytes_max {
        let text = format!("{} has {length} bytes, at most {bytes_max} are read", file.display());
        return Err(JobError::refused(Kind::Usage, text));
    }
    fs::read(file).map_err(JobError::file("read", file))
}
