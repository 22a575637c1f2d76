//! Ethereum's own tests, where `OPENLEDGER_FIXTURES` says they are.

use std::path::PathBuf;

use evm::conformance::{Report, run_block_tests, run_state_tests};

fn fixtures(folder: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("OPENLEDGER_FIXTURES") else {
        eprintln!("not run: set OPENLEDGER_FIXTURES to a folder that holds ethereum-tests/ to run {folder}");
        return None;
    };
    Some(PathBuf::from(root).join("ethereum-tests").join(folder))
}

fn all_pass(report: &Report, at_least: usize) {
    eprintln!("{} passed, {} failed, {} skipped", report.passed, report.failed.len(), report.skipped.len());
    assert!(report.failed.is_empty(), "{:#?}", &report.failed[..report.failed.len().min(20)]);
    assert!(report.skipped.is_empty(), "{:#?}", &report.skipped[..report.skipped.len().min(20)]);
    assert!(report.passed >= at_least, "only {} tests were found", report.passed);
}

#[test]
fn every_state_test_passes() {
    if let Some(path) = fixtures("GeneralStateTests") {
        all_pass(&run_state_tests(&[path]).expect("readable folder"), 2_900);
    }
}

#[test]
fn every_valid_block_is_imported() {
    if let Some(path) = fixtures("BlockchainTests") {
        all_pass(&run_block_tests(&[path]).expect("readable folder"), 55);
    }
}
