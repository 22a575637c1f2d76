//! Kernels for processors. One body each, compiled for several levels of instructions, with the same bits at every one.

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
