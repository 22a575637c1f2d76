//! Kernels for processors. One body each, compiled for several levels of instructions, with the same bits at every one.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles are loops over indices of several arrays at once"
)]

pub(crate) mod ahead;
pub(crate) mod attention;
pub(crate) mod attention_backward;
pub(crate) mod backward;
pub(crate) mod dot;
pub(crate) mod gemm;
mod level;
pub(crate) mod linear;
pub(crate) mod math;
pub(crate) mod simd;
pub(crate) mod team;
pub(crate) mod weight;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use level::Level;
pub use team::Team;
pub use weight::Quantise;
