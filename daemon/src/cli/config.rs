//! `openledger config …`: how this node is set.
//!
//! | verb      | `--json`                                                                |
//! |-----------|-------------------------------------------------------------------------|
//! | `show`    | `{"settings": [{"key", "value", "origin"}]}`; `value` is TOML           |
//! | `path`    | `{"path", "exists"}`                                                    |
//! | `check`   | `{"ok": true, "path"}`; a mistake is an error                           |
//! | `example` | `{"example"}`, the text of the file                                     |
//! | `set`     | `{"key", "value", "path"}`                                              |

mod file;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

pub(crate) use self::file::{append, set};
use super::{
    Place,
    exit::{Exit, ended},
    output,
};

/// Show, check and change the configuration
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print every key with its value
    #[command(after_help = "Example: openledger config show --origin")]
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print where the file is
    #[command(after_help = "Example: openledger config path")]
    Path,
    /// Say whether the file and the environment make sense
    #[command(after_help = "Example: openledger config check")]
    Check,
    /// Print a file with every key, its default and what it is for
    #[command(after_help = "Example: openledger config example")]
    Example,
    /// Change one key in the file; the rest of it, comments included, stays
    #[command(after_help = "Example: openledger config set rpc.listen 127.0.0.1:8545")]
    Set {
        /// Which key, as section.key
        key: String,
        /// Its value; the parts of a list are separated by commas
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
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let path = place.home().config();
        match self.verb {
            Verb::Show { origin } => show(place, origin)?,
            Verb::Path => {
                let shown = json!({ "path": path, "exists": path.exists() });
                place.show(&shown, || path.display().to_string());
            }
            Verb::Check => {
                place.config()?;
                place.show(&json!({ "ok": true, "path": path }), || {
                    format!("{} is fine", path.display())
                });
            }
            Verb::Example => {
                let example = config::example();
                place.show(&json!({ "example": example }), || example.trim_end().to_owned());
            }
            Verb::Set { key, value } => set_one(place, path, key, &value)?,
        }
        Ok(Exit::Done)
    }
}

fn show(place: &Place, origin: bool) -> anyhow::Result<()> {
    let settings = place.config()?.settings().into_iter().map(|setting| Setting {
        key: setting.key,
        value: setting.value,
        origin: setting.origin.to_string(),
    });
    let settings: Vec<_> = settings.collect();
    place.show(&json!({ "settings": settings }), || {
        let line = |setting: &Setting| match origin {
            true => format!("{} = {}  # {}", setting.key, setting.value, setting.origin),
            false => format!("{} = {}", setting.key, setting.value),
        };
        settings.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

fn set_one(place: &Place, path: PathBuf, key: String, value: &str) -> anyhow::Result<()> {
    if !place.home().root().is_dir() {
        return Err(place.no_home("there is no configuration").into());
    }
    if key == "node.network" && place.home().genesis().exists() {
        let why = "node.network is chosen when the home is made; run `openledger init` with another --home";
        return Err(ended(Exit::Denied, why).into());
    }
    let written = set(&place.home(), &key, value)?;
    place.show(&json!({ "key": key, "value": written, "path": path }), || {
        format!("{key} = {written}")
    });
    if place.maybe_running().is_some() {
        output::note("the running node keeps its old value until it is restarted");
    }
    Ok(())
}
