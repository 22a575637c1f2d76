//! The losses of a run, as its `training.json` has them.

use std::{io, path::Path};

use serde::Deserialize;

use compute::tensors::read_small;

const BYTES_MAX: u64 = 256 << 20;

/// The loss curve of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Name of the run, for people.
    pub name: String,
    /// Loss of each step.
    pub losses: Vec<f64>,
    /// Validations: step and loss.
    pub validations: Vec<(u64, f64)>,
}

/// Failure to read `training.json`.
#[derive(Debug, thiserror::Error)]
pub enum CurveError {
    #[error("could not read training.json")]
    Read(#[source] io::Error),
    /// The file is not the description of a run.
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
    /// Reads `training.json`; `name` labels the curve.
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
