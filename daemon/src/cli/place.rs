//! What every verb is told: which home, and whether a program reads the answer.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;
use config::Loaded;
use evm::genesis::ChainGenesis;
use serde::Serialize;

use super::{
    exit::{Ended, Exit, ended},
    local::Local,
    output,
    running::Running,
};
use base::{home::Home, key};
use data::Data;
use gateway::api;
use jobs::offers::Offers;

/// How often it is looked whether a node has come up.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The arguments of every verb.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The folder of the node; ~/.openledger if not given
    #[arg(long, global = true, env = "OPENLEDGER_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Place {
    /// The folder of the node.
    pub(crate) fn home(&self) -> Home {
        Home::new(self.home.clone().unwrap_or_else(Home::default_root))
    }

    /// Shows an answer: as an object, or as text.
    pub(crate) fn show(&self, object: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            output::object(object);
        } else {
            output::line(&text());
        }
    }

    /// The configuration that holds for this home.
    pub(crate) fn config(&self) -> anyhow::Result<Loaded> {
        self.config_with(Vec::new())
    }

    /// The same, with flags in front.
    pub(crate) fn config_with(&self, flags: Vec<(String, String)>) -> anyhow::Result<Loaded> {
        Ok(config::Config::load(self.home().root(), None, std::env::vars(), flags)?)
    }

    /// The first block of this home's chain.
    pub(crate) fn genesis(&self) -> anyhow::Result<Arc<ChainGenesis>> {
        let file = self.home().genesis();
        let text = fs::read(&file).with_context(|| self.no_home("there is no chain"))?;
        let genesis = ChainGenesis::from_json(&text)
            .with_context(|| format!("{} is not a genesis of this chain; copy it again", file.display()))?;
        Ok(Arc::new(genesis))
    }

    /// Where the running node can be reached.
    pub(crate) fn running(&self) -> anyhow::Result<Running> {
        Running::read(&self.home())
    }

    /// Where it can be reached, if it can.
    pub(crate) fn maybe_running(&self) -> Option<Running> {
        let running = Running::read(&self.home()).ok()?;
        running.listens().then_some(running)
    }

    /// Whoever answers about this home: its running node, or this process in its place.
    pub(crate) async fn local(&self) -> anyhow::Result<Local> {
        if let Some(running) = self.maybe_running() {
            return Ok(running.local());
        }
        let home = self.home();
        // A folder alone may hold models and no node.
        if !home.node_key().is_file() {
            return Err(self.no_home("there is no node").into());
        }
        let genesis = self.genesis().ok();
        let domain = genesis.map(|genesis| protocol::crypto::Domain {
            chain_id: genesis.spec.chain_id,
            genesis: genesis.hash.0,
        });
        let (config, key) = (self.config()?.config, key::read(&home.node_key())?);
        // A node that is starting has the stores already, and answers in a moment.
        tokio::select! {
            data = Data::offline(&home, &config, key, domain) => {
                let data = data?;
                let offers = Offers::open(&home, data.peer.clone())?;
                Ok(Local::Here(api::local::offline(data, offers)))
            }
            running = self.starts() => Ok(running.local()),
        }
    }

    async fn starts(&self) -> Running {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if let Some(running) = self.maybe_running() {
                return running;
            }
        }
    }

    /// Says that the home was not made yet.
    pub(crate) fn no_home(&self, what: &str) -> Ended {
        let text = format!(
            "{what} in {}; run `openledger init` first, or name another folder with --home",
            self.home().root().display()
        );
        ended(Exit::NotFound, text)
    }
}

/// Runs what waits for the network.
pub(crate) fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .context("could not start a runtime for network requests")?
        .block_on(work)
}
