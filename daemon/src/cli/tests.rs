//! Rules that every verb must keep: help, examples, JSON, no secrets in flags.

use clap::{Command, CommandFactory as _};

use super::*;

fn leaves(command: &Command, path: &str, seen: &mut Vec<(String, Command)>) {
    for verb in command.get_subcommands() {
        let path = format!("{path} {}", verb.get_name());
        if verb.has_subcommands() {
            leaves(verb, &path, seen);
        } else {
            seen.push((path, verb.clone()));
        }
    }
}

fn verbs() -> Vec<(String, Command)> {
    let mut seen = Vec::new();
    leaves(&Cli::command(), "openledger", &mut seen);
    seen
}

#[test]
fn the_definition_of_the_arguments_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_has_help_with_an_example() {
    let verbs = verbs();
    assert!(verbs.len() > 20, "{} verbs", verbs.len());
    for (path, verb) in verbs {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.starts_with(char::is_uppercase), "{path}: {about}");
        let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.starts_with(&format!("Example: {path}")), "{path}: {after}");
    }
}

#[test]
fn every_group_of_verbs_shows_an_example() {
    for group in Cli::command().get_subcommands().filter(|verb| verb.has_subcommands()) {
        let after = group.get_after_help().map(ToString::to_string).unwrap_or_default();
        let line = after.lines().next().and_then(|line| line.strip_prefix("Example: "));
        let read = Cli::try_parse_from(line.unwrap_or_default().split_whitespace());
        assert!(read.is_ok(), "{}: {after}", group.get_name());
    }
}

#[test]
fn every_verb_says_which_json_it_prints() {
    let described = json::described(&Cli::command(), "openledger");
    let silent = ["daemon", "engine", "completions", "man"].map(|verb| format!("openledger {verb}"));
    for (path, _) in verbs().into_iter().filter(|(path, _)| !silent.contains(path)) {
        assert!(described.iter().any(|(verb, _)| *verb == path), "{path}");
    }
}

#[test]
fn every_example_parses() {
    for (path, verb) in verbs() {
        let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in after.lines().filter_map(|line| line.strip_prefix("Example: ")) {
            // Text in double quotes is one word; no example needs more of a shell.
            let parts = line.split('"').enumerate();
            let words = parts.flat_map(|(at, part)| -> Vec<&str> {
                match at % 2 {
                    0 => part.split_whitespace().collect(),
                    _ => vec![part],
                }
            });
            let read = Cli::try_parse_from(words);
            assert!(read.is_ok(), "{path}: `{line}`: {}", read.unwrap_err());
        }
    }
}

#[test]
fn home_and_json_are_accepted_before_and_after_the_verb() {
    for line in [
        "openledger --home /a --json chain block 1",
        "openledger chain block 1 --json --home /a",
    ] {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        assert!(
            cli.globals.json && cli.globals.home().root() == std::path::Path::new("/a"),
            "{line}"
        );
    }
}

#[test]
fn a_password_is_never_a_flag() {
    for (path, verb) in verbs() {
        let flags = verb.get_arguments().filter_map(clap::Arg::get_long);
        let secret = |flag: &str| ["password", "private-key", "key", "secret", "mnemonic"].contains(&flag);
        let taking = verb.get_arguments().filter(|arg| arg.get_action().takes_values());
        assert!(
            flags.count() < 20 && !taking.filter_map(clap::Arg::get_long).any(secret),
            "{path}"
        );
    }
}
