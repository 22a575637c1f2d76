//! The GPU kernels of the decoder and its training, written once as `#[cube]` Rust, the language of the crate CubeCL.
//!
//! One definition is used three ways: compiled by CubeCL for a GPU (feature `cuda`), printed as CUDA C++ without a
//! GPU (`emit`), and that text run on the processor, thread by thread, for tests (feature `host`). `compute` and
//! `train` decide which kernels run on what; this crate knows nothing of models.
//!
//! - `kernels`: the kernels. `set`: a value for each variant of them, so that all can be listed and compiled.
//! - `machine`: the trait that runs them. `cuda`, `emulator`: its two implementations. `emit`: kernels as text.
//!
//! # Why a crate of its own, and features
//!
//! CubeCL is large, and its CUDA runtime is of use only with a GPU. Without features this crate is empty, so the
//! workspace is built and tested without either; `cargo xtask kernels` builds, compiles and runs the kernels.
//!
//! # Why burn is a dependency only with `cuda`
//!
//! Burn's layers cannot batch sequences of different lengths with pages and adapters of different ranks, so the
//! decoder does not use them. What remains is burn's device handle in `compute::device`. Burn is built on CubeCL, so
//! both see the same GPUs.
//!
//! # Words
//!
//! - *cube*: CubeCL's word for a thread block. *warp*: 32 threads. *lane*: a thread of a warp. *tile*: the rows that
//!   a cube works on.
//! - *pass*: the sequences of a forward and backward pass. *part*: a range of a long sum; parts are added afterwards.

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
pub mod emulator;

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
