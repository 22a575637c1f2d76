//! `openledger man`: the manual page, or with `--dir` a page for every verb. Prints roff also with `--json`.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use super::{Cli, exit::Exit, output};

/// Print the manual page
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger man --dir man1")]
pub(crate) struct Man {
    /// Write one page per verb into this folder instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        let Some(dir) = self.dir else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            output::raw(&page);
            return Ok(Exit::Done);
        };
        let failed = || {
            format!(
                "could not write the pages to {}; choose a folder you may write to",
                dir.display()
            )
        };
        fs::create_dir_all(&dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &dir))
            .with_context(failed)?;
        output::note(&format!("wrote the manual pages to {}", dir.display()));
        Ok(Exit::Done)
    }
}
