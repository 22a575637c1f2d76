//! Runs Ethereum's own tests from the folder that `OPENLEDGER_FIXTURES` names.

use std::path::PathBuf;

use alloy_primitives::{B256, b256};
use evm::conformance::{Report, chain_file, run_block_tests, run_state_tests};

/// From `headfcu.json` of the same fixtures.
const HEAD: B256 = b256!("0xd226371d0b1551adb03fb52b71f08e3e11247fe9b1af994768af8cdaa8e7dcd7");

/// A folder of the fixtures, if there are any.
fn fixtures(folder: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("OPENLEDGER_FIXTURES") else {
        eprintln!("not run: set OPENLEDGER_FIXTURES to a folder that holds {folder}");
        return None;
    };
    Some(PathBuf::from(root).join(folder))
}

fn all_pass(report: &Report, at_least: usize) {
    eprintln!(
        "{} passed, {} failed, {} skipped",
        report.passed,
        report.failed.len(),
        report.skipped.len()
    );
    assert!(
        report.failed.is_empty(),
        "{:#?}",
        &report.failed[..report.failed.len().min(20)]
    );
    assert!(
        report.skipped.is_empty(),
        "{:#?}",
        &report.skipped[..report.skipped.len().min(20)]
    );
    assert!(report.passed >= at_least, "only {} tests were found", report.passed);
}

#[test]
fn every_state_test_passes() {
    if let Some(path) = fixtures("ethereum-tests/GeneralStateTests") {
        all_pass(&run_state_tests(&[path]).expect("readable folder"), 2_900);
    }
}

#[test]
fn every_valid_block_is_imported() {
    if let Some(path) = fixtures("ethereum-tests/BlockchainTests") {
        all_pass(&run_block_tests(&[path]).expect("readable folder"), 55);
    }
}

/// 54 blocks that cross every fork from Frontier to BPO2, by work and by stake.
#[test]
fn a_chain_through_every_fork_is_imported() {
    if let Some(path) = fixtures("rpc-compat") {
        let read = |name: &str| std::fs::read(path.join(name)).expect("readable file");
        let imported = chain_file::import(&read("genesis.json"), &read("chain.rlp"));
        let (blocks, head) = imported.expect("every block is valid");
        assert_eq!(blocks, 54);
        assert_eq!(head, HEAD);
    }
}
