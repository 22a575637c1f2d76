//! Work that a node does with models: training and evaluation runs, the engine that serves, and what work it offers.
//!
//! The command line, the web pages and the market call the same functions; none of them holds a run of its own. Leaves out
//! how a model computes (`compute`, `train`, `serve`) and how a request comes in (`gateway`).

#![forbid(unsafe_code)]

pub mod offers;
