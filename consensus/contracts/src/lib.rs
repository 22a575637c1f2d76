//! The contracts that are on the chain from genesis, as data: addresses, bytecode, bindings, genesis storage.
//!
//! Sources are in `sol/`, compiled artefacts in `artifacts/`; both are committed and a task recompiles to compare. What
//! the node does with the contracts is decided in `evm`.

#![forbid(unsafe_code)]

pub mod address;
pub mod stake_hub;

/// Bindings generated from the artefacts.
mod bindings {
    alloy_sol_types::sol!(
        #[derive(Debug, PartialEq, Eq)]
        StakeHub,
        "artifacts/StakeHub.json"
    );
    alloy_sol_types::sol!(
        #[derive(Debug, PartialEq, Eq)]
        TestToken,
        "artifacts/TestToken.json"
    );
}

pub use bindings::{StakeHub, TestToken};
