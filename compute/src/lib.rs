//! The machine that jobs run on, and the engine: one base model, and thousands of adapters over it.
//!
//! Nothing here meets the network; `daemon` brings them together.

#![allow(
    clippy::float_arithmetic,
    reason = "numbers are what this crate computes; none of them leaves it as money"
)]

pub mod assemble;
pub mod decoder;
pub mod device;
pub mod engine;
pub mod forward;
pub mod host;
pub mod kernel;
pub mod logits;
pub mod lora;
pub mod model;
pub mod pages;
pub mod process;
pub mod sample;
pub mod schedule;
pub mod tensors;
pub mod tier;
pub mod train;

pub use host::Host;
