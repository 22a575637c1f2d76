//! Jobs with models: training and evaluation runs, the serving engine, stored models, and offers of work to other nodes.
//!
//! The command line and the operator's API call the same functions here. How a model computes is in `compute`, `train` and
//! `serve`; how requests arrive is in `gateway`.
//!
//! - [`training`]: a LoRA run, from the request to the adapter.
//! - [`evaluation`]: a comparison of a base model and adapters, with a report.
//! - [`serving`] and [`engine`]: setting up the inference process, and keeping it running.
//! - [`models`]: base models stored in the home.
//! - [`offers`]: the work that this node offers, and the offers of others.

#![forbid(unsafe_code)]

pub mod engine;
mod error;
pub mod evaluation;
pub mod models;
pub mod offers;
pub mod serving;
pub mod training;

pub use error::JobError;
