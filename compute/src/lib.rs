//! What models are made of: tensors, kernels, base models with their tokenizers, LoRA adapters, and the decoder that runs
//! them on a processor or a GPU.
//!
//! `serve` answers requests with it and `train` learns with it; neither is known here. Nothing here meets the network, and
//! nothing here has a queue, a process or a clock of its own.
//!
//! Begin with [`forward`], the one trait that a model on a device fulfils, then with [`decoder`], which fulfils it;
//! [`model`] and [`lora`] read what lies on disk, and [`kernel`] is the arithmetic.

#![allow(
    clippy::float_arithmetic,
    reason = "numbers are what this crate computes; none of them leaves it as money"
)]

pub mod decoder;
pub mod device;
pub mod forward;
pub mod kernel;
pub mod logits;
pub mod lora;
pub mod machine;
pub mod model;
pub mod random;
pub mod tensors;

pub use machine::MachineInfo;
