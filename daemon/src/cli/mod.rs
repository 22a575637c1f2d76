//! The command line: `openledger VERB`, one file per verb.
//!
//! Every verb takes `--home DIR` (or `OPENLEDGER_HOME`) and `--json`; each file says which object `--json` prints. The
//! answer goes to stdout, everything else to stderr, and the exit code is one of [`exit`]. What needs no running node
//! works without one. Errors gather here from all over the program, which is why `anyhow` is used here and nowhere else.

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
mod local;
mod man;
mod model;
mod output;
mod peers;
mod pin;
mod place;
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

use clap::{Parser, Subcommand};

use self::{exit::Exit, place::Place};

/// A chain of nodes that agree, and the tools for one of them.
#[derive(Debug, Parser)]
#[command(
    name = "openledger",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example: openledger devnet\n\nExit codes: 0 done, 1 failed, 2 usage, 3 daemon not running, 4 not found, \
                  5 denied, 6 timeout, 7 verification failed."
)]
struct Cli {
    #[command(flatten)]
    place: Place,
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
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => {
            // Help and version come this way too, and are no failure. There is nowhere to say that printing failed.
            drop(wrong.print());
            return if wrong.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let json = cli.place.json;
    if let Verb::Engine(verb) = cli.verb {
        return verb.run();
    }
    let exit = run(cli).unwrap_or_else(|error| exit::report(&error, json));
    exit.into()
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let place = &cli.place;
    match cli.verb {
        Verb::Init(verb) => verb.run(place),
        Verb::Daemon(verb) => verb.run(place),
        Verb::Devnet(verb) => verb.run(place),
        Verb::Status(verb) => verb.run(place),
        Verb::Chain(verb) => verb.run(place),
        Verb::Wallet(verb) => verb.run(place),
        Verb::Data(verb) => verb.run(place),
        Verb::Datanet(verb) => verb.run(place),
        Verb::Pin(verb) => verb.run(place),
        Verb::Repo(verb) => verb.run(place),
        Verb::Worker(verb) => verb.run(place),
        Verb::Model(verb) => verb.run(place),
        Verb::Serve(verb) => verb.run(place),
        Verb::Train(verb) => verb.run(place),
        Verb::Evaluate(verb) => verb.run(place),
        Verb::Engine(_) => unreachable!("it never comes back to the others"),
        Verb::Config(verb) => verb.run(place),
        Verb::Doctor(verb) => verb.run(place),
        Verb::Id(verb) => verb.run(place),
        Verb::Peers(verb) => verb.run(place),
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(),
        Verb::Version(verb) => verb.run(place),
    }
}
