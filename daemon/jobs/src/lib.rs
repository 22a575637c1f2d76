//! Work that a node does with models. The command line, web pages and the market all call these functions.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`training`] | a LoRA run from request to adapter; begin here |
//! | [`evaluation`] | comparing a base and its adapters on the same records |
//! | [`engine`], [`serving`] | the engine's process and its setup |
//! | [`models`] | the store of base models in a home |
//! | [`offers`] | announcing compute offers, and collecting those of others |
//!
//! `compute`, `train` and `serve` know how a model computes; `gateway` knows how requests come in.

#![forbid(unsafe_code)]

pub mod engine;
mod error;
pub mod evaluation;
pub mod models;
pub mod offers;
pub mod serving;
pub mod training;

pub use error::JobError;
