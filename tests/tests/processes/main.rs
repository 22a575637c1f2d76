//! The program as processes: what people type, what nodes do together, what survives a kill.

mod cli;
mod data;
mod datanets;
mod jobs;
mod learn;
mod nodes;
mod pins;
mod readme;
mod serve;
mod workers;

/// The program, built by cargo with these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_openledger-under-test");
