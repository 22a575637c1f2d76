//! `openledger devnet`: real nodes on this machine, from nothing, with one command. What it prints is described in
//! [`crate::devnet`].

use std::path::PathBuf;

use clap::Args;

use super::{Place, exit::Exit, place};
use crate::devnet::{self, Options};

/// Start a development network of real nodes on this machine
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger devnet --once --nodes 4")]
pub(crate) struct Devnet {
    /// How many nodes, all of them validators
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    nodes: u8,
    /// Keep their homes in this folder; without it they are temporary
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The first of the ports to take, three per node
    #[arg(long, default_value_t = 26600, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65000))]
    base_port: u16,
    /// Send a few transactions, check that all nodes agree, and end
    #[arg(long)]
    once: bool,
}

impl Devnet {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let options = Options {
            nodes: usize::from(self.nodes),
            dir: self.dir,
            base_port: self.base_port,
            once: self.once,
            json: place.json,
        };
        place::wait(async { Ok(devnet::run(options, |object, text| place.show(object, || text)).await?) })?;
        Ok(Exit::Done)
    }
}
