//! The contracts that exist from genesis on, as data: addresses, bytecode, ABI bindings and genesis storage.
//!
//! Sources are in `sol/` and compiled artefacts in `artifacts/`. Both are committed, and `cargo xtask contracts`
//! compiles and compares them. The node's use of the contracts is in crate `evm`.
//!
//! - [`address`]: addresses of the contracts.
//! - [`stake_hub`]: the storage that the stake hub starts with.
//! - [`StakeHub`], [`TestToken`]: bindings generated from the artefacts.

#![forbid(unsafe_code)]

pub mod address;
pub mod stake_hub;

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
