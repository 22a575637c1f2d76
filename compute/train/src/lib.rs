//! Reproducible fine-tuning: LoRA adapters over a frozen base, or all weights of a small model.
//!
//! A run is a pure function of its base, its records in their order, the weight of each contributor, the seed and the
//! hyper-parameters: to the bit, on any number of threads and any processor. After each step the state is hashed into
//! a chain of *step roots*. Two people who did the same run find the first step at which they differ by their roots,
//! and anybody can do that one step again from the checkpoint before it.
//!
//! The crate does not serve, fetch records or pay anybody. A run is given its records and writes its files; the
//! kernels are `compute`'s.
//!
//! # Where to find what
//!
//! - `trainer`: the run itself, [`Trainer`]. `trainer/start`: its three beginnings. `output`: a whole run into a
//!   folder.
//! - `recipe`: hyper-parameters ([`Recipe`]), and the settings that change no bit ([`Machine`]).
//! - `corpus_reader`, `record`, `data`: from lines of JSON to tokens. `plan`: the records of each step.
//! - `cpu`: forward and backward pass on the processor. `gpu`: the same on a GPU, behind `accelerator`.
//! - `parameters`, `optimiser`: what is trained, and AdamW. `checkpoint`, `state_root`: files and hashes of the
//!   state.
//! - `throttle`: pausing, stopping and slowing down a run.
//! - `evaluate`, `score`, [`comparison`]: losses and answers of a trained model. [`vocabulary`]: learning a
//!   tokenizer.
//!
//! # The way through it
//!
//! [`CorpusReader`] makes a [`Corpus`] of records, [`Trainer::new`] starts a run, and [`run`] does its steps: `plan`
//! picks the records, `cpu` adds up their gradients, `optimiser` moves the parameters, `state_root` hashes the
//! result.
//!
//! # Why every sum has a fixed order
//!
//! Payments to contributors rest on what a run computed, so a stranger must be able to recompute it exactly.
//! Floating-point sums depend on their order; here a row has the bits that serving gives it, and a gradient is one
//! chain of additions in the order of records. Neither threads, nor the size of a pass, nor the processor changes a
//! bit. A GPU adds in another order: it computes another run, whose class is part of its name and its checkpoints.
//!
//! # Why weight 0 instead of leaving records out
//!
//! Attribution compares a run with the same run without one contributor. If the contributor's records were left out, the
//! order and the divisor of all other losses would change too. So a step's losses are divided by a count over all of its
//! records before contributors' weights apply, and weight 0 takes records out of the gradient and changes nothing else.

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
