//! `openledger config`: shows, checks and changes the configuration of this node.

mod file;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

pub(crate) use self::file::{append, set};
use super::{
    Globals,
    exit::{Exit, ended},
    output,
};

/// Show, check and change the configuration
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger config set rpc.listen 127.0.0.1:8545")]
pub(crate) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print every key with its value
    #[command(
        after_help = "Example: openledger config show --origin\n\nJSON: {settings: [{key, value, origin}]}; value is TOML"
    )]
    Show {
        /// Also print where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print the path of the configuration file
    #[command(after_help = "Example: openledger config path\n\nJSON: {path, exists}")]
    Path,
    /// Check the file and the environment for mistakes
    #[command(after_help = "Example: openledger config check\n\nJSON: {ok: true, path}; a mistake is an error")]
    Check,
    /// Print a configuration file with every key, its default and a comment
    #[command(after_help = "Example: openledger config example\n\nJSON: {example}, the text of the file")]
    Example,
    /// Change one key in the file and keep the rest of it, comments included
    #[command(after_help = "Example: openledger config set rpc.listen 127.0.0.1:8545\n\nJSON: {key, value, path}")]
    Set {
        /// Key of the configuration, as section.key
        key: String,
        /// Value; separate the items of a list by commas
        value: String,
    },
}

#[derive(Serialize)]
struct Setting {
    key: String,
    value: String,
    origin: String,
}

impl Config {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let path = globals.home().config();
        match self.verb {
            Verb::Show { origin } => show(globals, origin)?,
            Verb::Path => {
                let shown = json!({ "path": path, "exists": path.exists() });
                globals.show(&shown, || path.display().to_string());
            }
            Verb::Check => {
                globals.config()?;
                globals.show(&json!({ "ok": true, "path": path }), || {
                    format!("{} has no mistakes", path.display())
                });
            }
            Verb::Example => {
                let example = config::example();
                globals.show(&json!({ "example": example }), || example.trim_end().to_owned());
            }
            Verb::Set { key, value } => set_one(globals, path, key, &value)?,
        }
        Ok(Exit::Done)
    }
}

fn show(globals: &Globals, origin: bool) -> anyhow::Result<()> {
    let settings = globals.config()?.settings().into_iter().map(|setting| Setting {
        key: setting.key,
        value: setting.value,
        origin: setting.origin.to_string(),
    });
    let settings: Vec<_> = settings.collect();
    globals.show(&json!({ "settings": settings }), || {
        let line = |setting: &Setting| match origin {
            true => format!("{} = {}  # {}", setting.key, setting.value, setting.origin),
            false => format!("{} = {}", setting.key, setting.value),
        };
        settings.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

fn set_one(globals: &Globals, path: PathBuf, key: String, value: &str) -> anyhow::Result<()> {
    if !globals.home().root().is_dir() {
        return Err(globals.no_home("there is no configuration").into());
    }
    if key == "node.network" && globals.home().genesis().exists() {
        let why =
            "node.network is fixed when a home is created; run `openledger init --network NAME` with another --home";
        return Err(ended(Exit::Denied, why).into());
    }
    let written = set(&globals.home(), &key, value)?;
    globals.show(&json!({ "key": key, "value": written, "path": path }), || {
        format!("{key} = {written}")
    });
    if globals.maybe_running().is_some() {
        output::note("the running node keeps its old value until it is restarted");
    }
    Ok(())
}
