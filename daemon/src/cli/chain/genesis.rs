//! `openledger chain genesis`: writes the genesis file of a public network from a list of its founding validators and
//! accounts.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use evm::genesis::ChainGenesis;
use serde_json::json;

use crate::cli::{Globals, exit::Exit, output};
use chain::genesis::{Founders, launch};

/// Write the genesis file of a network from its founding validators and accounts
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger chain genesis --network test --founders founders.json --out genesis.json\n\n\
                        JSON: {file, chain_id, genesis} with --out, else the genesis file itself"
)]
pub(super) struct Genesis {
    /// Network whose parameters and supply shares to use: test or main
    #[arg(long, value_name = "NAME", value_parser = ["test", "main"])]
    network: String,
    /// JSON file with the validators, their stakes, and the account of each share of the supply
    #[arg(long, value_name = "FILE")]
    founders: PathBuf,
    /// Write the genesis to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Genesis {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let file = self.founders.display();
        let text = fs::read(&self.founders).with_context(|| format!("could not read --founders {file}"))?;
        let founders: Founders =
            serde_json::from_slice(&text).with_context(|| format!("--founders {file} is not a list of founders"))?;
        let genesis = launch(&self.network, &founders).with_context(|| format!("--founders {file}"))?;
        let text = serde_json::to_string_pretty(&genesis).expect("a genesis is plain data");
        let Some(out) = &self.out else {
            output::line(&text);
            return Ok(Exit::Done);
        };
        fs::write(out, &text).with_context(|| format!("could not write --out {}", out.display()))?;
        let chain = ChainGenesis::new(genesis).context("the genesis that was just checked")?;
        let shown = json!({ "file": out, "chain_id": chain.spec.chain_id, "genesis": chain.hash });
        globals.show(&shown, || {
            format!(
                "{}: chain {} with genesis {}",
                out.display(),
                chain.spec.chain_id,
                chain.hash
            )
        });
        Ok(Exit::Done)
    }
}
