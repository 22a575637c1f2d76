//! Language models on one machine: tensor files, tokenizers, LoRA adapters, the arithmetic, and a decoder of the
//! Llama family that runs on the processor or on a GPU.
//!
//! The crate computes and does nothing else. It opens no socket, has no queue, no process and no clock of its own:
//! `serve` schedules requests over it and `train` learns with it, and neither is known here. Files that other people
//! made are read as hostile: every size is checked before memory is taken, and what is not supported is refused by
//! its name.
//!
//! # Where to find what
//!
//! - [`forward`]: the trait [`forward::Forward`] that a scheduler drives; read it first.
//! - [`decoder`]: the one implementation of that trait, over the operations of a device ([`decoder::Ops`]).
//! - [`kernel`]: the processor's arithmetic, forward and backward, with the same bits on every processor.
//! - [`model`]: base models on disk: `config.json`, weights, tokenizer, chat template, and the store of a home.
//! - [`lora`]: adapters in PEFT's format, and the hash that identifies one.
//! - [`tensors`]: safetensors headers, and matrices as they are stored.
//! - [`device`]: devices by name. [`machine`]: cores, memory and instructions of this machine.
//! - [`random`]: counter-based random numbers for training.
//! - [`logits`]: one batch from files to logits, for comparisons with other programs.
//!
//! # The way through it
//!
//! [`model::Model::read`] checks a folder, [`model::Model::on_cpu`] makes a decoder of it, and
//! [`forward::Forward::step`] turns spans of tokens into logits. A step is an embedding, blocks of attention and
//! feed-forward, a norm and the output layer; keys and values stay in pages between steps.
//!
//! # Words
//!
//! - *span*: consecutive tokens of one sequence in a step. *step*: one batch of spans.
//! - *page*: keys and values of a fixed number of positions. *slot*: the place of a loaded adapter on the device.
//! - *site*: one linear layer of one block, to which an adapter may add. *rank*: the inner width of an adapter there.
//! - *verified*: computed so that the bits depend on tokens, adapters and model alone.
//! - *single*: a 32-bit float.
//!
//! # Why not a tensor library on the processor
//!
//! A result that others check must have the same bits whatever the number of threads, the other rows of the batch and
//! the instructions of the processor. No library promises that, so the processor's kernels are written here, with one
//! fixed order for every sum; they were also faster than the libraries that were measured. Burn and CubeCL are built
//! only with the features for GPUs (see the crate `cube`), so a node without a GPU compiles neither.

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
