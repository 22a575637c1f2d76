//! What the programs that try real nodes for long have in common: whom they try, and how they end.

use std::{path::PathBuf, process::ExitCode};

use crate::cluster::{Failure, program};

/// Whom to try.
#[derive(Debug, clap::Args)]
pub struct Subject {
    /// The openledger program to run; without it the one that was built with this one
    #[arg(long)]
    program: Option<PathBuf>,
}

impl Subject {
    /// The program.
    pub fn program(&self) -> Result<PathBuf, Failure> {
        self.program.clone().map_or_else(program, Ok)
    }
}

/// Prints what was found.
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
