//! The processor's arithmetic: one generic body per kernel, compiled for several instruction levels, with the same
//! bits at every one.
//!
//! - `simd`, `x86`, `level`: sixteen lanes of singles, and how a body becomes a function for each instruction level.
//! - `weight`: a frozen matrix as stored or quantised. `dot`: rows times a weight. `linear`: layers with their
//!   adapters.
//! - `attention`, `math`: the rest of the forward pass.
//! - `gemm`, `backward`, `attention_backward`: the backward pass.
//! - `thread_pool`, `prefetch`: threads, and memory that is fetched in advance.
//!
//! # The promise
//!
//! Each output is one sum in an order that depends on the length of the sum alone, of operations that IEEE 754 rounds
//! exactly. So a row has the same bits with any number of threads, in any batch, and on any processor. A change of an
//! order is a change of every recorded result: it needs a new kernel version.
//!
//! # Why not BLAS or an existing tensor crate
//!
//! Their order of summation depends on threads, on the size of the batch and on the processor, so two nodes would
//! disagree about the same request. They were slower for decoding too: the matrix-vector product of the crate `gemm` runs
//! on one thread, and burn's CPU backend converts a whole BF16 weight on every call.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles are loops over indices of several arrays at once"
)]

pub mod attention;
pub mod attention_backward;
pub mod backward;
pub mod dot;
pub mod gemm;
mod level;
pub(crate) mod linear;
pub mod math;
pub mod prefetch;
pub mod simd;
pub mod thread_pool;
pub mod weight;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use level::Level;
pub use thread_pool::ThreadPool;
pub use weight::Quantise;
