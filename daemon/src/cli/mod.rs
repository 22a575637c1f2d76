//! The command line: `openledger VERB`, one file per verb.
//!
//! Every verb takes `--home DIR` (or `OPENLEDGER_HOME`) and `--json`. Results go to stdout, everything else to stderr, and
//! the exit code is one of [`exit`]. Verbs that do not need a running node work without one. Verbs parse arguments and
//! print; the work is done by the node, through the operator's API, or by the crates below. `anyhow` is used here alone,
//! because errors of all crates meet here.
//!
//! To add a verb: add a file with a `clap` struct whose help ends with an example and a `JSON:` line, add it to `Verb`
//! below, and put its request and response types into `base::operator` if the node does the work. Tests check that every
//! verb has an example that parses and that its JSON line names the keys it prints.

mod chain;
mod completions;
mod config;
mod daemon;
mod data;
mod datanet;
mod devnet;
mod doctor;
mod engine;
mod evaluate;
mod exit;
mod id;
mod init;
mod json;

mod globals;
mod man;
mod model;
mod operator_client;
mod output;
mod peers;
mod pin;
mod repo;
mod running;
mod serve;
mod status;
#[cfg(test)]
mod tests;
mod train;
mod version;
mod wallet;
mod worker;

use std::process::ExitCode;

use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::{exit::Exit, globals::Globals};

/// Share datasets, train and serve models, and run the chain that records who contributed what
#[derive(Debug, Parser)]
#[command(
    name = "openledger",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example: openledger devnet\n\n`openledger help VERB` shows an example of a verb and the JSON that it prints; \
                  `openledger help json` lists all of it.\n\nExit codes: 0 done, 1 failed, 2 usage, 3 daemon not running, 4 not \
                  found, 5 denied, 6 timeout, 7 verification failed."
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Init),
    Daemon(daemon::Daemon),
    Devnet(devnet::Devnet),
    Status(status::Status),
    Chain(chain::Chain),
    Wallet(wallet::Wallet),
    Data(data::Data),
    Datanet(datanet::Datanet),
    Pin(pin::Pin),
    Repo(repo::Repo),
    Worker(worker::Worker),
    Model(model::Model),
    Serve(serve::Serve),
    Train(train::Train),
    Evaluate(evaluate::Evaluate),
    Engine(engine::Engine),
    Config(config::Config),
    Doctor(doctor::Doctor),
    Id(id::Id),
    Peers(peers::Peers),
    Completions(completions::Completions),
    Man(man::Man),
    Version(version::Version),
    Json(json::Json),
}

/// All verbs. The help of `json` lists what the others print.
fn command() -> Command {
    let help = format!("Example: openledger json --json\n\n{}", json::help());
    Cli::command().mut_subcommand("json", |verb| verb.after_help(help))
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let cli = match command()
        .try_get_matches()
        .and_then(|found| Cli::from_arg_matches(&found))
    {
        Ok(cli) => cli,
        Err(wrong) => {
            // `--help` and `--version` arrive here too, and are no failure. A failure to print cannot be printed.
            drop(wrong.print());
            return if wrong.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let json = cli.globals.json;
    if let Verb::Engine(verb) = cli.verb {
        return verb.run();
    }
    let exit = run(cli).unwrap_or_else(|error| exit::report(&error, json));
    exit.into()
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let globals = &cli.globals;
    match cli.verb {
        Verb::Init(verb) => verb.run(globals),
        Verb::Daemon(verb) => verb.run(globals),
        Verb::Devnet(verb) => verb.run(globals),
        Verb::Status(verb) => verb.run(globals),
        Verb::Chain(verb) => verb.run(globals),
        Verb::Wallet(verb) => verb.run(globals),
        Verb::Data(verb) => verb.run(globals),
        Verb::Datanet(verb) => verb.run(globals),
        Verb::Pin(verb) => verb.run(globals),
        Verb::Repo(verb) => verb.run(globals),
        Verb::Worker(verb) => verb.run(globals),
        Verb::Model(verb) => verb.run(globals),
        Verb::Serve(verb) => verb.run(globals),
        Verb::Train(verb) => verb.run(globals),
        Verb::Evaluate(verb) => verb.run(globals),
        Verb::Engine(_) => unreachable!("`main` runs the engine itself"),
        Verb::Config(verb) => verb.run(globals),
        Verb::Doctor(verb) => verb.run(globals),
        Verb::Id(verb) => verb.run(globals),
        Verb::Peers(verb) => verb.run(globals),
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(),
        Verb::Version(verb) => verb.run(globals),
        Verb::Json(verb) => verb.run(globals),
    }
}
