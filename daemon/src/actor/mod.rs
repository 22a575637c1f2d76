//! The shells around the machines: each waits, steps, and performs what it is told, in order.

pub mod chain;
pub mod ingress;
