//! `openledger init`: makes the home of a node: configuration, keys, and the first block of its chain.
//!
//! Run again on the same home it changes nothing; a home that belongs to another chain is refused. `--json` prints
//! `{"home", "network", "chain_id", "genesis", "node_id", "validator", "created": ["config.toml", …]}`; `validator` is null
//! without a validator key.

use std::{fs, io, os::unix::fs::DirBuilderExt as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use evm::genesis::{ChainGenesis, Timing};
use protocol::{BlockHash, NodeId, ValidatorKey};
use serde::Serialize;

use super::{
    Place,
    chain::archive::Archive,
    config,
    exit::{Exit, ended},
    output,
};
use base::{home::Home, key};
use chain::genesis;

/// Blocks per epoch of a development chain.
const EPOCH_LENGTH: u64 = 100;

/// Make the home of a node: configuration, keys and genesis
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger init --network dev --moniker alice\nExample: openledger init --network test --genesis genesis.json --validator"
)]
pub(crate) struct Init {
    /// The network: dev, test or main; dev if not given
    #[arg(long, value_name = "NAME", value_parser = ["dev", "test", "main"])]
    network: Option<String>,
    /// The genesis file of the chain; on dev, without one, a chain of this node's own is made
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// What the node calls itself in logs and to its peers
    #[arg(long, value_name = "NAME")]
    moniker: Option<String>,
    /// Make a validator key, too; on a chain of its own this is always so
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
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let home = place.home();
        let network = self.network(&home)?;
        let given = self.given_genesis(&home, &network)?;
        let own_chain = given.is_none() && !home.genesis().exists();
        // Nothing is written before everything that can be refused was looked at.
        if let Some((_, genesis)) = &given {
            belongs(&home, genesis)?;
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
                .unwrap_or_else(|| own(validator.into_iter().collect()));
            write(&home.genesis(), &text)?;
            created.push("genesis.json");
        }
        let genesis = place.genesis()?;
        let shown = Shown {
            home: home.root().to_owned(),
            network,
            chain_id: genesis.spec.chain_id,
            genesis: genesis.hash,
            node_id: NodeId(node.public()),
            validator,
            created,
        };
        place.show(&shown, || text(&shown));
        if own_chain && !place.json {
            output::note(
                "a chain of your own: `openledger daemon` runs it, `openledger wallet dev` lists its funded accounts",
            );
        }
        Ok(Exit::Done)
    }

    /// The network that was asked for, which must be the one the home has already, if it has one.
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
                "no public {network} network is launched yet, so its genesis does not come with this program; \
                 give the file of the chain to join with --genesis FILE"
            );
            return Err(ended(Exit::Usage, text).into());
        };
        let text = fs::read(file).with_context(|| format!("could not read --genesis {}", file.display()))?;
        let genesis = ChainGenesis::from_json(&text)
            .with_context(|| format!("--genesis {} is not a genesis of this kind of chain", file.display()))?;
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

/// Refuses a home of another chain.
fn belongs(home: &Home, genesis: &ChainGenesis) -> anyhow::Result<()> {
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

/// A development chain with this node as its only validator.
fn own(validators: Vec<ValidatorKey>) -> Vec<u8> {
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
    let validator = shown
        .validator
        .map_or("none: this node follows and does not vote".to_owned(), |key| {
            key.to_string()
        });
    let created = match shown.created.as_slice() {
        [] => "nothing: the home was there already".to_owned(),
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
