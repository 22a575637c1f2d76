//! The interfaces of a node: operator API, health and metrics, and the OpenAI API.
//!
//! | module | change it to … |
//! | --- | --- |
//! | [`api::local`] | add or change a command of the operator's API (Unix socket) |
//! | [`api::ops`] | change health checks or the Prometheus page |
//! | [`openai`] | change the OpenAI API |
//! | [`serving`] | change how a model starts and stops being served |
//!
//! A handler parses a request, calls the crate that does the work, and converts the result. JSON-RPC lives in `chain`.

#![forbid(unsafe_code)]

pub mod api;
pub mod openai;
pub mod serving;
mod traced;
