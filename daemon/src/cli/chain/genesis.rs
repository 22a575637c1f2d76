//! `openledger chain genesis`: drafts the first block of a network from the people who found it.
//!
//! Prints the genesis file itself, or with `--out` writes it and prints `{"file", "chain_id", "genesis"}`.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use evm::genesis::ChainGenesis;
use serde_json::json;

use crate::cli::{Place, exit::Exit, output};
use chain::genesis::{Founders, launch};

/// Draft the genesis file of a network from its founders
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger chain genesis --network test --founders founders.json --out genesis.json")]
pub(super) struct Genesis {
    /// Whose rules and shares it has: test or main
    #[arg(long, value_name = "NAME", value_parser = ["test", "main"])]
    network: String,
    /// Validators with their stakes, and the account of each share of the supply
    #[arg(long, value_name = "FILE")]
    founders: PathBuf,
    /// Write it here instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Genesis {
    pub(super) fn run(self, place: &Place) -> anyhow::Result<Exit> {
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
        place.show(&shown, || {
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
