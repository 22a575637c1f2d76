//! Why a run cannot begin or go on.

use compute::{forward::StepError, lora::WriteError, model::ModelError};

use super::{checkpoint::CheckpointError, data::DataError, recipe::RecipeError};

/// Why a run cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A hyper-parameter.
    #[error("the recipe: {0}")]
    Recipe(#[from] RecipeError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The base model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// All records are held back.
    #[error("all {0} records would be held back for validation; hold back fewer, or bring more")]
    Records(usize),
    /// A loss or a gradient is no number.
    #[error("step {step}: the {what} is no finite number; its records are {records}. The state is that of step {}", step - 1)]
    NotFinite {
        /// The step that was not done.
        step: u64,
        /// What is not finite.
        what: &'static str,
        /// Where its records stand.
        records: String,
    },
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run was told to stop.
    #[error("the run was stopped in step {0}, which was not done")]
    Stopped(u64),
    /// A file of the result.
    #[error("could not write {what}")]
    Write {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The adapter.
    #[error(transparent)]
    Adapter(#[from] WriteError),
    /// The model failed on a question.
    #[error(transparent)]
    Answer(#[from] StepError),
    /// What computes in the processor's place.
    #[error("the device failed: {0}")]
    Device(String),
    /// A step that a checkpoint does not lead to.
    #[error("the checkpoint is of step {have}, and step {want} cannot be done from it")]
    Step {
        /// What was asked for.
        want: u64,
        /// What is there.
        have: u64,
    },
}
