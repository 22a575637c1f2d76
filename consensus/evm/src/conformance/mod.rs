//! Runs Ethereum's own test files through the executor and the tries.
//!
//! This is the only module of the crate that reads files, because an operator points it at a folder of tests. No
//! part of a node calls it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "reads test files; no part of a node does"
)]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

pub mod blocktest;
mod branches;
pub mod chain_file;
pub mod forks;
pub mod plain;
pub mod statetest;

/// The result of a test run. Names of tests contain their file, so that one of them can be run alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub passed: usize,
    /// Name and reason of each failed test.
    pub failed: Vec<(String, String)>,
    /// Name and reason of each test that was not run.
    pub skipped: Vec<(String, String)>,
}

impl Report {
    /// Merges two reports; used to collect those of files that run in parallel.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self
    }

    fn record(&mut self, name: String, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(why) => self.failed.push((name, why)),
            Outcome::Skipped(why) => self.skipped.push((name, why)),
        }
    }
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Passed)
    }
}

/// Runs every state test in these files and folders.
pub fn run_state_tests(paths: &[PathBuf]) -> io::Result<Report> {
    run(paths, statetest::run_file)
}

/// Runs every blockchain test in these files and folders.
pub fn run_block_tests(paths: &[PathBuf]) -> io::Result<Report> {
    run(paths, blocktest::run_file)
}

/// Runs files in parallel. The report lists them in the order of their paths.
fn run(paths: &[PathBuf], test: impl Fn(&str, &[u8]) -> Report + Sync) -> io::Result<Report> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    files.sort();
    let reports: io::Result<Vec<Report>> = files
        .par_iter()
        .map(|path| Ok(test(&path.display().to_string(), &fs::read(path)?)))
        .collect();
    Ok(reports?.into_iter().fold(Report::default(), Report::and))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "json") {
            collect(&path, files)?;
        }
    }
    Ok(())
}
