//! `openledger json`, also `openledger help json`: lists what every verb prints with `--json`.
//!
//! Each verb describes its own object in its help, on a line that begins with `JSON:`. This module collects those lines, so
//! that the list cannot differ from the help. End-to-end tests compare the keys of real output with it.

use clap::{Args, Command, CommandFactory as _};
use serde_json::json;

use super::{Cli, Globals, exit::Exit};

/// The start of the paragraph that describes the object.
const MARK: &str = "JSON: ";

/// List the JSON objects that the verbs print with --json
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger json --json\n\nJSON: {verbs: [{verb, prints}]}")]
pub(crate) struct Json {}

impl Json {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let verbs = described(&Cli::command(), "openledger");
        let object = verbs
            .iter()
            .map(|(verb, prints)| json!({ "verb": verb, "prints": prints }));
        globals.show(&json!({ "verbs": object.collect::<Vec<_>>() }), || text(&verbs));
        Ok(Exit::Done)
    }
}

/// Help of `openledger help json`: the list itself.
pub(super) fn help() -> String {
    text(&described(&Cli::command(), "openledger"))
}

/// The verbs below `command` that print JSON, each with the description of its object.
pub(super) fn described(command: &Command, path: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for verb in command.get_subcommands() {
        let path = format!("{path} {}", verb.get_name());
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        if let Some((_, prints)) = help.split_once(MARK) {
            found.push((path.clone(), prints.to_owned()));
        }
        found.extend(described(verb, &path));
    }
    found
}

fn text(verbs: &[(String, String)]) -> String {
    let line = |(verb, prints): &(String, String)| format!("{verb}\n    {prints}");
    verbs.iter().map(line).collect::<Vec<_>>().join("\n")
}
