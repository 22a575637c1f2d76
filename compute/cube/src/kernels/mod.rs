//! The kernels. Sizes of models are run-time scalars, so that one variant serves every model; sizes that decide the
//! use of registers are compile-time parameters.

#![allow(
    clippy::too_many_arguments,
    clippy::manual_is_multiple_of,
    reason = "a kernel takes its buffers and sizes one by one, and has the operators that devices have"
)]

pub(crate) mod backward;
pub(crate) mod linear;
pub(crate) mod lora;
pub(crate) mod matmul;
pub(crate) mod paged_attention;
pub(crate) mod rows;
pub(crate) mod self_attention;
pub(crate) mod self_attention_backward;
pub(crate) mod tile;
pub(crate) mod training;
