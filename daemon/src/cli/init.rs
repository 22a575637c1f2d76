//! `openledger init`: creates the home of a node: configuration, keys and genesis.
//!
//! Running it again on the same home changes nothing. A home that belongs to another chain is refused.

use std::{fs, io, os::unix::fs::DirBuilderExt as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use evm::genesis::{ChainGenesis, Timing};
use protocol::{BlockHash, NodeId, ValidatorKey};
use serde::Serialize;

use super::{
    Globals,
    chain::archive::Archive,
    config,
    exit::{Exit, ended},
    output,
};
use base::{home::Home, key};
use chain::genesis;

/// Blocks per epoch of a development chain.
const EPOCH_LENGTH: u64 = 100;

/// Create the home of a node: configuration, keys and genesis
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger init --network dev --moniker alice\nExample: openledger init --network test --genesis genesis.json --validator\n\n\
                  A node that joins the chain of others also needs a peer: `openledger peers add /ip4/10.0.0.7/tcp/4001`.\n\n\
                  JSON: {home, network, chain_id, genesis, node_id, validator, created: [FILE]}; validator is null without a \
                  validator key"
)]
pub(crate) struct Init {
    /// Network to belong to: dev, test or main [default: dev]
    #[arg(long, value_name = "NAME", value_parser = ["dev", "test", "main"])]
    network: Option<String>,
    /// Genesis file of the chain to join. Without it, on dev, a new chain with this node as its only validator
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Name of the node in logs and for its peers
    #[arg(long, value_name = "NAME")]
    moniker: Option<String>,
    /// Create a validator key too; a new chain always gets one
    #[arg(long)]
    validator: bool,
}

#[derive(Serialize)]
struct Shown {
    home: PathBuf,
    network: String,
    chain_id: u64,
    genesis: BlockHash,
    node_id: NodeId,
    validator: Option<ValidatorKey>,
    created: Vec<&'static str>,
}

impl Init {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let home = globals.home();
        let network = self.network(&home)?;
        let given = self.given_genesis(&home, &network)?;
        let own_chain = given.is_none() && !home.genesis().exists();
        // Check everything that can be refused before the first file is written.
        if let Some((_, genesis)) = &given {
            check_same_chain(&home, genesis)?;
        } else if own_chain && Archive::open(&home)?.tip().is_some() {
            let text = format!(
                "{} holds blocks of a chain whose genesis.json is missing; give it with --genesis, or choose another --home",
                home.root().display()
            );
            return Err(ended(Exit::Failed, text).into());
        }

        private(&home.keys())?;
        let mut created = Vec::new();
        self.write_config(&home, &network, &mut created)?;
        let is_new = |file: PathBuf, name, created: &mut Vec<_>| {
            if !file.exists() {
                created.push(name);
            }
        };
        is_new(home.node_key(), "keys/node.key", &mut created);
        let node = key::read_or_create(&home.node_key())?;
        if self.validator || own_chain {
            is_new(home.validator_key(), "keys/validator.key", &mut created);
            key::read_or_create(&home.validator_key())?;
        }
        let validator = home
            .validator_key()
            .exists()
            .then(|| key::read(&home.validator_key()))
            .transpose()?;
        let validator = validator.map(|key| key.validator());
        if !home.genesis().exists() {
            let text = given
                .map(|(text, _)| text)
                .unwrap_or_else(|| single_validator_genesis(validator.into_iter().collect()));
            write(&home.genesis(), &text)?;
            created.push("genesis.json");
        }
        let genesis = globals.genesis()?;
        let shown = Shown {
            home: home.root().to_owned(),
            network,
            chain_id: genesis.spec.chain_id,
            genesis: genesis.hash,
            node_id: NodeId(node.public()),
            validator,
            created,
        };
        globals.show(&shown, || text(&shown));
        if own_chain && !globals.json {
            output::note(&format!(
                "this is a new chain with one validator; start it with `openledger daemon --home {}`, and list its funded \
                 accounts with `openledger wallet dev`",
                home.root().display()
            ));
        }
        Ok(Exit::Done)
    }

    /// The network of the flag, which must equal that of an existing home.
    fn network(&self, home: &Home) -> anyhow::Result<String> {
        let asked = self.network.clone();
        if !home.config().exists() {
            return Ok(asked.unwrap_or_else(|| "dev".to_owned()));
        }
        let has = ::config::Config::load(home.root(), None, [], [])?.config.node.network;
        match asked {
            Some(asked) if asked != has => {
                let text = format!(
                    "{} is on network {has}, not {asked}; choose another --home",
                    home.root().display()
                );
                Err(ended(Exit::Failed, text).into())
            }
            _ => Ok(has),
        }
    }

    fn given_genesis(&self, home: &Home, network: &str) -> anyhow::Result<Option<(Vec<u8>, ChainGenesis)>> {
        let Some(file) = &self.genesis else {
            if network == "dev" || home.genesis().exists() {
                return Ok(None);
            }
            let text = format!(
                "the public {network} network is not launched yet, so this program has no genesis for it; give the genesis \
                 file of the chain to join with --genesis FILE"
            );
            return Err(ended(Exit::Usage, text).into());
        };
        let text = fs::read(file).with_context(|| format!("could not read --genesis {}", file.display()))?;
        let genesis = ChainGenesis::from_json(&text).with_context(|| {
            format!(
                "--genesis {} is not a genesis file of an OpenLedger chain",
                file.display()
            )
        })?;
        Ok(Some((text, genesis)))
    }

    fn write_config(&self, home: &Home, network: &str, created: &mut Vec<&'static str>) -> anyhow::Result<()> {
        if !home.config().exists() {
            write(&home.config(), ::config::example().as_bytes())?;
            config::set(home, "node.network", network)?;
            created.push("config.toml");
        }
        if let Some(moniker) = &self.moniker {
            config::set(home, "node.moniker", moniker)?;
        }
        Ok(())
    }
}

/// Refuses a home that belongs to another chain.
fn check_same_chain(home: &Home, genesis: &ChainGenesis) -> anyhow::Result<()> {
    let foreign = |found: String| {
        let text = format!(
            "{} belongs to the chain with genesis {found}, not {}; choose another --home",
            home.root().display(),
            genesis.hash
        );
        Err(ended(Exit::Failed, text).into())
    };
    if home.genesis().exists() {
        let text = fs::read(home.genesis()).with_context(|| format!("could not read {}", home.genesis().display()))?;
        let has = ChainGenesis::from_json(&text).with_context(|| format!("{} is damaged", home.genesis().display()))?;
        return if has.hash == genesis.hash {
            Ok(())
        } else {
            foreign(has.hash.to_string())
        };
    }
    match Archive::open(home)?.first_parent()? {
        Some(parent) if parent != genesis.hash => foreign(parent.to_string()),
        _ => Ok(()),
    }
}

/// The genesis of a development chain with this node as its only validator.
fn single_validator_genesis(validators: Vec<ValidatorKey>) -> Vec<u8> {
    let genesis = genesis::development(&validators, EPOCH_LENGTH, Timing::default());
    serde_json::to_vec_pretty(&genesis).expect("a genesis is plain data")
}

fn private(dir: &std::path::Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("could not make {}; choose a --home you may write to", dir.display()))
}

fn write(path: &std::path::Path, text: &[u8]) -> anyhow::Result<()> {
    let next = path.with_extension("new");
    let written: io::Result<()> = fs::write(&next, text).and_then(|()| fs::rename(&next, path));
    written.with_context(|| format!("could not write {}", path.display()))
}

fn text(shown: &Shown) -> String {
    let validator = shown.validator.map_or(
        "none: this node follows the chain and does not vote".to_owned(),
        |key| key.to_string(),
    );
    let created = match shown.created.as_slice() {
        [] => "nothing: the home exists already".to_owned(),
        files => files.join(", "),
    };
    output::columns(&[
        ("Home", shown.home.display().to_string()),
        ("Network", format!("{} (chain id {})", shown.network, shown.chain_id)),
        ("Genesis", shown.genesis.to_string()),
        ("Node", shown.node_id.to_string()),
        ("Validator", validator),
        ("Created", created),
    ])
}
