//! `openledger devnet`: the command line of [`crate::devnet`].

use std::path::PathBuf;

use clap::Args;

use super::{Globals, exit::Exit, globals};
use crate::devnet::{self, Options};

/// Start a development network of real nodes on this machine
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger devnet --once --nodes 4\n\nJSON: {event: \"up\", chain_id, nodes: [{node, home, rpc, api, log}], accounts: [{address, private_key}], \
                  started_in_ms}, and with --once then {event: \"agreed\", transactions, height, state_root, took_ms}"
)]
pub(crate) struct Devnet {
    /// Number of nodes, all of them validators
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    nodes: u8,
    /// Keep the homes in this folder; without it they are temporary
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// First port to use; each node takes three
    #[arg(long, default_value_t = 26600, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65000))]
    base_port: u16,
    /// Send a few transactions, check that all nodes agree, and stop
    #[arg(long)]
    once: bool,
}

impl Devnet {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let options = Options {
            nodes: usize::from(self.nodes),
            dir: self.dir,
            base_port: self.base_port,
            once: self.once,
            json: globals.json,
        };
        globals::wait(async { Ok(devnet::run(options, |object, text| globals.show(object, || text)).await?) })?;
        Ok(Exit::Done)
    }
}
