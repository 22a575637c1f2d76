//! Work that a node does with models: training and evaluation runs, the engine that serves, and the models that are kept.
//!
//! The command line, the web pages and the market call the same functions; none of them holds a run of its own. Leaves out
//! how a model computes (`compute`, `train`, `serve`) and how a request comes in (`gateway`). Begin with [`training`].

#![forbid(unsafe_code)]

pub mod engine;
mod error;
pub mod evaluation;
pub mod models;
pub mod offers;
pub mod serving;
pub mod training;

pub use error::JobError;
