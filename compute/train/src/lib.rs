//! Learning: a run is a pure function of its base, its records in their order, the weight of each contributor, the seed
//! and the hyper-parameters, to the bit, on any number of threads and any processor.
//!
//! Forth, rows have the bits that serving gives them. Back, every sum is a chain in the order of records. Random numbers
//! are looked up by what they are for. After each step the state is hashed into a chain of roots, so that two who did the
//! same run can find the first step at which they differ, and anybody can do that one step again. A GPU has other bits:
//! what it computes is another run, whose class its name and its checkpoints tell.
//!
//! What a step divides its losses by is counted over all of its records before anybody's weight is looked at: weight 0
//! takes a contributor's records out of the gradient and moves nothing else.
//!
//! Nothing here serves, fetches records or pays anybody: a run is given its records and writes its files, and the kernels
//! are `compute`'s. Begin with [`Trainer`], then read [`Recipe`], which holds everything that a run may be told.

#![allow(
    clippy::float_arithmetic,
    reason = "numbers are what this crate computes; none of them leaves it as money"
)]

mod accelerator;
mod checkpoint;
pub mod comparison;
mod corpus_reader;
mod cpu;
mod data;
mod error;
mod evaluate;
#[cfg(feature = "gpu")]
mod gpu;
mod optimiser;
mod output;
mod parameters;
mod plan;
mod recipe;
mod record;
mod score;
mod state_root;
mod throttle;
mod trainer;
pub mod vocabulary;

pub use checkpoint::CheckpointError;
pub use corpus_reader::{CorpusReader, Owner, questions};
pub use data::{Corpus, DataError, Example};
pub use error::TrainError;
pub use evaluate::{EvalAnswer, Evaluation, answers, evaluate};
pub use output::{Event, Outcome, Output, run};
pub use recipe::{Base, EpsilonPlace, Machine, Method, Normalise, Overlong, Recipe, RecipeError, Schedule};
pub use record::EvalPrompt;
pub use state_root::base_hash;
pub use throttle::{Foreground, Proceed, RunControl, Throttle, Unthrottled};
pub use trainer::{StepReport, Trainer};
