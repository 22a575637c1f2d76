//! The arguments that every verb takes, `--home` and `--json`, and what follows from them: configuration, genesis, and
//! the running node of the home.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;
use config::Loaded;
use evm::genesis::ChainGenesis;
use serde::Serialize;

use super::{
    exit::{Ended, Exit, ended},
    operator_client::OperatorClient,
    output,
    running::Running,
};
use base::{home::Home, key};
use data::Data;
use gateway::api;
use jobs::offers::Offers;

/// Interval at which a node that is starting is looked for.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Arguments that every command accepts.
#[derive(Clone, Debug, Args)]
pub(crate) struct Globals {
    /// Folder of the node [default: ~/.openledger]
    #[arg(long, global = true, env = "OPENLEDGER_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Globals {
    /// The folder given with `--home`, or the default one.
    pub(crate) fn home(&self) -> Home {
        Home::new(self.home.clone().unwrap_or_else(Home::default_root))
    }

    /// Prints a result: as a JSON object with `--json`, else as text.
    pub(crate) fn show(&self, object: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            output::object(object);
        } else {
            output::line(&text());
        }
    }

    /// Loads the configuration of this home.
    pub(crate) fn config(&self) -> anyhow::Result<Loaded> {
        self.config_with(Vec::new())
    }

    /// Loads the configuration, with `flags` overriding the environment and the file.
    pub(crate) fn config_with(&self, flags: Vec<(String, String)>) -> anyhow::Result<Loaded> {
        Ok(config::Config::load(self.home().root(), None, std::env::vars(), flags)?)
    }

    /// Reads the genesis of this home's chain.
    pub(crate) fn genesis(&self) -> anyhow::Result<Arc<ChainGenesis>> {
        let file = self.home().genesis();
        let text = fs::read(&file).with_context(|| self.no_home("there is no chain"))?;
        let genesis = ChainGenesis::from_json(&text).with_context(|| {
            format!(
                "{} is not a genesis file; copy it again from a node of the chain",
                file.display()
            )
        })?;
        Ok(Arc::new(genesis))
    }

    /// The running node of this home; an error says how to start it.
    pub(crate) fn running(&self) -> anyhow::Result<Running> {
        Running::read(&self.home())
    }

    /// The running node of this home, if one accepts connections.
    pub(crate) fn maybe_running(&self) -> Option<Running> {
        let running = Running::read(&self.home()).ok()?;
        running.listens().then_some(running)
    }

    /// Opens the operator's API of this home: at its running node, or inside this process if none runs.
    pub(crate) async fn operator_client(&self) -> anyhow::Result<OperatorClient> {
        if let Some(running) = self.maybe_running() {
            return Ok(running.operator_client());
        }
        let home = self.home();
        // A home may hold models only.
        if !home.node_key().is_file() {
            return Err(self.no_home("there is no node").into());
        }
        let genesis = self.genesis().ok();
        let domain = genesis.map(|genesis| protocol::crypto::Domain {
            chain_id: genesis.spec.chain_id,
            genesis: genesis.hash.0,
        });
        let (config, key) = (self.config()?.config, key::read(&home.node_key())?);
        // A node that is starting has locked the stores already: wait for it instead of failing.
        tokio::select! {
            data = Data::offline(&home, &config, key, domain) => {
                let data = data?;
                let offers = Offers::open(&home, data.peer.clone())?;
                Ok(OperatorClient::Here(api::local::offline(data, offers)))
            }
            running = self.wait_for_start() => Ok(running.operator_client()),
        }
    }

    async fn wait_for_start(&self) -> Running {
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            if let Some(running) = self.maybe_running() {
                return running;
            }
        }
    }

    /// The error for a home that does not exist.
    pub(crate) fn no_home(&self, what: &str) -> Ended {
        let text = format!(
            "{what} in {0}; run `openledger init --home {0}` first, or name another folder with --home",
            self.home().root().display()
        );
        ended(Exit::NotFound, text)
    }
}

/// Runs a future to its end on a runtime of its own.
pub(crate) fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .context("could not start a runtime for network requests")?
        .block_on(work)
}
