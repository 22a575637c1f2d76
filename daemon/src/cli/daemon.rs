//! `openledger daemon`: runs the node until SIGINT or SIGTERM. It logs to stderr and prints nothing to stdout. Programs
//! read its addresses from `node.json` in its home, which exists once the node accepts requests.

use anyhow::Context as _;
use clap::Args;

use super::{
    Globals,
    exit::{Exit, ended},
};
use crate::{node, telemetry};

/// Run the node until it is interrupted
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger daemon --set rpc.listen=127.0.0.1:8545\n\nLogs to stderr. Its addresses are in node.json in its home."
)]
pub(crate) struct Daemon {
    /// Override a configuration key for this run; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as section.key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Daemon {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let home = globals.home();
        if !home.root().is_dir() {
            return Err(globals.no_home("there is no node").into());
        }
        let loaded = globals.config_with(self.set)?;
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
