//! LLM serving: one base model with thousands of LoRA adapters over it, answering many requests at once.
//!
//! | module | change it to … |
//! | --- | --- |
//! | [`engine`] | handle a request differently: the thread that owns the model, and the handle that submits to it |
//! | [`schedule`] | decide what runs in the next step and for whom: continuous batching, fairness, preemption (pure) |
//! | [`pages`] | share or evict KV cache pages: the prefix cache (pure) |
//! | [`tier`] | find, load, pin or evict adapters: peer → disk → host memory → device |
//! | [`sample`] | choose a token from logits, or turn tokens into text |
//! | [`process`] | run the engine in a process of its own, and restart it |
//! | [`loader`] | open a stored model and build the engine for it |
//!
//! The way of a request: [`process::Supervisor::submit`] writes it to the child process, [`engine::Engine::submit`]
//! checks it and tokenises the prompt, [`schedule::Scheduler`] plans steps, the engine's thread runs each step with
//! `compute::forward::Forward`, [`sample::Sampler`] chooses the tokens, and [`engine::Event`]s travel back. Begin reading
//! with [`engine`], then [`schedule`].
//!
//! `compute` knows how a step is computed, and the daemon how requests arrive over HTTP. Training happens elsewhere.
//!
//! # Glossary
//!
//! - *step*: one forward pass over a batch; *row*: one running sequence in it; *span*: the tokens of a row in one step.
//! - *cold* / *ready* / *running*: waiting for adapters / waiting for room / having a row, pages and slots.
//! - *page*: a fixed number of positions of the KV cache; *slot*: room for one adapter on the device.
//! - *mix*: the adapters of one request with their weights.
//! - *tenant*: an account or API token; tenants share the engine fairly.
//! - *verified*: the bits of the result do not depend on what else is in the batch.

#![allow(
    clippy::float_arithmetic,
    reason = "probabilities and times are what this crate computes; none of them leaves it as money"
)]

pub mod engine;
pub mod loader;
pub mod pages;
pub mod process;
pub mod sample;
pub mod schedule;
pub mod tier;
