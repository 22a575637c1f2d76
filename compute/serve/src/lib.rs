//! Serving: one base model, and thousands of adapters over it, answering many requests at once.
//!
//! [`schedule`] decides which rows are in the next step, and [`pages`] which positions they share; both are pure.
//! [`tier`] brings adapters from disk to memory, [`sample`] chooses tokens, [`engine`] is the thread that does it all, and
//! [`process`] keeps that thread in a process of its own, which [`assemble`] sets up.
//!
//! How a step is computed is `compute`'s, and how requests come over the network is the daemon's. Nothing here learns.
//!
//! Begin with [`engine`], then read [`schedule`].

#![allow(
    clippy::float_arithmetic,
    reason = "probabilities and times are what this crate computes; none of them leaves it as money"
)]

pub mod assemble;
pub mod engine;
pub mod pages;
pub mod process;
pub mod sample;
pub mod schedule;
pub mod tier;
