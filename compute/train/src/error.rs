//! Errors of a run.

use compute::{forward::StepError, lora::WriteError, model::ModelError};

use super::{checkpoint::CheckpointError, data::DataError, recipe::RecipeError};

/// Failure to start or to continue a run.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A hyper-parameter is out of range or contradicts another.
    #[error("the recipe: {0}")]
    Recipe(#[from] RecipeError),
    /// The records cannot be trained on.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The base model cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Validation would hold back all records.
    #[error("all {0} records would be held back for validation; hold back fewer, or bring more")]
    Records(usize),
    /// A loss or a gradient is infinite or NaN. The state is that of the step before.
    #[error("step {step}: the {what} is no finite number; its records are {records}. The state is that of step {}", step - 1)]
    NotFinite {
        step: u64,
        /// `loss` or `gradient`.
        what: &'static str,
        /// Files and lines of the step's records.
        records: String,
    },
    /// A checkpoint cannot be written or does not belong to this run.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run was stopped in this step, which is dropped.
    #[error("the run was stopped in step {0}, which was not done")]
    Stopped(u64),
    /// A file of the result could not be written.
    #[error("could not write {what}")]
    Write {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// The adapter could not be written.
    #[error(transparent)]
    Adapter(#[from] WriteError),
    /// The model failed while it answered a question.
    #[error(transparent)]
    Answer(#[from] StepError),
    /// The accelerator failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// The step does not follow the state that is loaded.
    #[error("the checkpoint is of step {have}, and step {want} cannot be done from it")]
    Step {
        /// Step that was asked for.
        want: u64,
        /// Step of the state that is loaded.
        have: u64,
    },
}
