//! `openledger engine`: the process that `serve` starts for the model. It speaks with its parent over the socket that it
//! has as standard input, and prints nothing. Nothing is started before it has left the network.

use std::process::ExitCode;

use clap::Args;
use serve::{loader, process};

use super::output;

/// Be the engine of another process of this program
#[derive(Debug, Args)]
#[command(hide = true, after_help = "Example: openledger engine")]
pub(crate) struct Engine {}

impl Engine {
    pub(crate) fn run(self) -> ExitCode {
        match process::inherited_socket() {
            Ok(socket) => process::child_main(socket, loader::parts),
            Err(error) => {
                output::note(&format!(
                    "error: `serve` starts this, with a socket as standard input: {error}"
                ));
                ExitCode::from(2)
            }
        }
    }
}
