//! The kernels. What is not known when they are compiled comes as a scalar, so that one variant serves every model; what
//! decides how registers are used is known then.

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
