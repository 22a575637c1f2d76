//! The kernels. What is not known when they are compiled comes as a scalar, so that one variant serves every model; what
//! decides how registers are used is known then.

#![allow(
    clippy::too_many_arguments,
    clippy::manual_is_multiple_of,
    reason = "a kernel takes its buffers and sizes one by one, and has the operators that devices have"
)]

pub(crate) mod attention;
pub(crate) mod back;
pub(crate) mod learn;
pub(crate) mod linear;
pub(crate) mod look;
pub(crate) mod look_back;
pub(crate) mod lora;
pub(crate) mod multiply;
pub(crate) mod rows;
pub(crate) mod tile;
