//! `openledger engine`: the child process in which `serve` runs the model. It talks to its parent over the socket that is
//! its standard input. It gives up network access before it does anything else.

use std::process::ExitCode;

use clap::Args;
use serve::{loader, process};

use super::output;

/// Run the inference engine as a child process of `serve`
#[derive(Debug, Args)]
#[command(hide = true, after_help = "Example: openledger engine")]
pub(crate) struct Engine {}

impl Engine {
    pub(crate) fn run(self) -> ExitCode {
        match process::inherited_socket() {
            Ok(socket) => process::child_main(socket, loader::parts),
            Err(error) => {
                output::note(&format!(
                    "error: only `openledger serve` starts this command, with a socket as standard input: {error}"
                ));
                ExitCode::from(2)
            }
        }
    }
}
