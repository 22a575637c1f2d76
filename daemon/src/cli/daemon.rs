//! `openledger daemon`: the node itself, until SIGINT or SIGTERM. It logs to stderr and prints nothing; programs that
//! want to know where it listens read `node.json` in its home, which is there once it takes requests.

use anyhow::Context as _;
use clap::Args;

use super::{
    Place,
    exit::{Exit, ended},
};
use crate::{node, telemetry};

/// Run the node
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger daemon --set rpc.listen=127.0.0.1:8545")]
pub(crate) struct Daemon {
    /// Set a key of the configuration for this run
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

/// A key and the value it is given.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as section.key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Daemon {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let home = place.home();
        if !home.root().is_dir() {
            return Err(place.no_home("there is no node").into());
        }
        let loaded = place.config_with(self.set)?;
        telemetry::start(&loaded.config.log).map_err(|why| {
            let text = why.to_string();
            anyhow::Error::new(why).context(ended(Exit::Usage, text))
        })?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("could not start the node's threads; raise the limit on threads (ulimit -u)")?;
        runtime.block_on(node::run(home, &loaded))?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_and_all_that_follows() {
        let expect = ("log.level".to_owned(), "info,net=debug".to_owned());
        assert_eq!(pair("log.level=info,net=debug"), Ok(expect));
        assert!(pair("log.level").is_err());
    }
}
