//! The doors of a node: the operator's API on a socket of its own, health and metrics, and the OpenAI API.
//!
//! Handlers read a request, call the room that does the work, and answer. Leaves out JSON-RPC, which is the chain's own.
//! Begin with [`api`].

#![forbid(unsafe_code)]

pub mod api;
pub mod openai;
pub mod serving;
mod traced;
