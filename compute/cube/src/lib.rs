//! Kernels of a decoder for GPUs, written once as `#[cube]` Rust.
//!
//! The same definitions become what cubecl compiles on a GPU (`Machine` on CUDA, feature `cuda`), CUDA C++ that is
//! compiled offline (`emit`), and that same text run on the processor, thread by thread, beside the reference in tests
//! (feature `host`). What a model does with them is `compute`'s business.

#![cfg(feature = "kernels")]
#![allow(
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    reason = "kernels are numbers, and index with what the device has"
)]

pub mod emit;
mod kernels;
mod machine;
mod set;

#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "host")]
pub mod host;

pub use kernels::{
    linear::{ADD, BIAS},
    lora::NO_ROW,
    matmul::{BEGIN, CHAIN, TILE as MATMUL_TILE},
    self_attention::ROWS as SELF_ATTENTION_ROWS,
    training::SQUARES,
};
pub use machine::{Machine, MachineError, Scalar};
pub use set::{
    ATTENTION_QUERIES, ELEMENTWISE_THREADS, Element, Environment, GEMM_FRAGMENTS, GEMV_TILES, Kernel, LORA_TILES,
    TrainingKernel, WIDTHS, vector_of,
};
