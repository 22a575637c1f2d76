//! `openledger chain statetest` and `chain blocktest`: run Ethereum's conformance tests on this node's executor.
//!
//! Each failed and skipped test is listed with its reason. The last line is `N passed, N failed`. The exit code is 1 if a
//! test failed or if no test was found.

use std::{io, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use evm::conformance::{self, Report};
use serde::Serialize;

use crate::cli::{
    Globals,
    exit::{Exit, ended},
};

/// Run Ethereum's GeneralStateTests
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger chain statetest GeneralStateTests/stExample\n\nJSON: {passed, failed: [{name, why}], skipped: [{name, why}]}"
)]
pub(crate) struct Statetest {
    /// Files, or folders that are searched for .json files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Run Ethereum's BlockchainTests
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger chain blocktest BlockchainTests/ValidBlocks\n\nJSON: {passed, failed: [{name, why}], skipped: [{name, why}]}"
)]
pub(crate) struct Blocktest {
    /// Files, or folders that are searched for .json files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Shown<'a> {
    passed: usize,
    failed: Vec<Named<'a>>,
    skipped: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    why: &'a str,
}

impl Statetest {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        run(globals, &self.paths, conformance::run_state_tests)
    }
}

impl Blocktest {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        run(globals, &self.paths, conformance::run_block_tests)
    }
}

fn run(globals: &Globals, paths: &[PathBuf], test: fn(&[PathBuf]) -> io::Result<Report>) -> anyhow::Result<Exit> {
    if let Some(path) = paths.iter().find(|path| !path.exists()) {
        let text = format!(
            "PATH {} does not exist; name a test file or a folder of them",
            path.display()
        );
        return Err(ended(Exit::NotFound, text).into());
    }
    let report = test(paths).context("could not read the tests")?;
    if report == Report::default() {
        let text = "no test was found under PATH; name .json files of this kind, or a folder of them";
        return Err(ended(Exit::Failed, text).into());
    }
    let shown = Shown {
        passed: report.passed,
        failed: named(&report.failed),
        skipped: named(&report.skipped),
    };
    globals.show(&shown, || text(&report));
    Ok(if report.failed.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn named(tests: &[(String, String)]) -> Vec<Named<'_>> {
    tests.iter().map(|(name, why)| Named { name, why }).collect()
}

fn text(report: &Report) -> String {
    let line = |what: &'static str| move |(name, why): &(String, String)| format!("{what} {name}: {why}");
    let skipped = report.skipped.iter().map(line("skipped"));
    let failed = report.failed.iter().map(line("failed"));
    let end = format!("{} passed, {} failed", report.passed, report.failed.len());
    skipped.chain(failed).chain([end]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_and_failures_have_reasons_and_the_last_line_stands_alone() {
        let named = |name: &str, why: &str| (name.to_owned(), why.to_owned());
        let report = Report {
            passed: 3,
            failed: vec![named("b", "wrong root")],
            skipped: vec![named("a", "another fork")],
        };
        assert_eq!(
            text(&report),
            "skipped a: another fork\nfailed b: wrong root\n3 passed, 1 failed"
        );
    }
}
