//! How a loss fell, as a run wrote it into `training.json`.

use std::{io, path::Path};

use serde::Deserialize;

use compute::tensors::read_small;

const BYTES_MAX: u64 = 256 << 20;

/// Losses of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// The run's name, for people.
    pub name: String,
    /// The loss of every step.
    pub losses: Vec<f64>,
    /// Losses of records that were held back, by step.
    pub validations: Vec<(u64, f64)>,
}

/// A description of a run that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CurveError {
    /// The file.
    #[error("could not read training.json")]
    Read(#[source] io::Error),
    /// What is in it.
    #[error("training.json describes no run: {0}")]
    Form(String),
}

#[derive(Deserialize)]
struct Described {
    steps: Vec<Step>,
    #[serde(default)]
    validations: Vec<Validation>,
}

#[derive(Deserialize)]
struct Step {
    loss: f64,
}

#[derive(Deserialize)]
struct Validation {
    step: u64,
    loss: f64,
}

impl Curve {
    /// Reads the description of a run of that name.
    pub fn read(file: &Path, name: &str) -> Result<Self, CurveError> {
        let text = read_small(file, BYTES_MAX).map_err(CurveError::Read)?;
        let described: Described =
            serde_json::from_slice(&text).map_err(|error| CurveError::Form(error.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            losses: described.steps.into_iter().map(|step| step.loss).collect(),
            validations: described
                .validations
                .into_iter()
                .map(|found| (found.step, found.loss))
                .collect(),
        })
    }
}
