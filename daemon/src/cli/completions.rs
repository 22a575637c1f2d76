//! `openledger completions SHELL`: a completion script for a shell. Prints the script also with `--json`.

use clap::{Args, CommandFactory as _};

use super::{Cli, exit::Exit, output};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger completions bash")]
pub(crate) struct Completions {
    /// Shell to print completions for
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "openledger", &mut script);
        output::raw(&script);
        Ok(Exit::Done)
    }
}
