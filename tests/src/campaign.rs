//! Shared parts of the programs that test real nodes for a long time: the program under test, and the exit code.

use std::{path::PathBuf, process::ExitCode};

use crate::cluster::{Failure, program};

/// Arguments that choose the program under test.
#[derive(Debug, clap::Args)]
pub struct Subject {
    /// The openledger program to run; without it the one that was built with this one
    #[arg(long)]
    program: Option<PathBuf>,
}

impl Subject {
    /// The path of the program: the given one, or the one built with the tests.
    pub fn program(&self) -> Result<PathBuf, Failure> {
        self.program.clone().map_or_else(program, Ok)
    }
}

/// Prints the result and returns the exit code.
#[expect(clippy::print_stdout, reason = "such a program is its printed findings")]
pub fn ended(found: Result<String, Failure>) -> ExitCode {
    match found {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}
