//! `openledger chain …`: the chain itself, from the running node, or from the block log of one that is stopped. Each verb
//! says in its file what it prints.

pub(crate) mod archive;
mod block;
mod conformance;
mod evidence;
mod genesis;
mod import;
mod overview;
mod prove;
mod repair;
mod serve;
mod transaction;
pub(crate) mod validators;
mod verify;

use clap::{Args, Subcommand};

pub(crate) use self::transaction::open as open_amount;
use super::{Place, exit::Exit};

/// Look at the chain, check it, repair it
#[derive(Debug, Args)]
pub(crate) struct Chain {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Status(overview::Overview),
    Block(block::Block),
    Tx(transaction::Transaction),
    Validators(validators::Validators),
    Evidence(evidence::Evidence),
    Repair(repair::Repair),
    Prove(prove::Prove),
    Verify(verify::Verify),
    Statetest(conformance::Statetest),
    Blocktest(conformance::Blocktest),
    Genesis(genesis::Genesis),
    Import(import::Import),
    Serve(serve::Serve),
}

impl Chain {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Status(verb) => verb.run(place),
            Verb::Block(verb) => verb.run(place),
            Verb::Tx(verb) => verb.run(place),
            Verb::Validators(verb) => verb.run(place),
            Verb::Evidence(verb) => verb.run(place),
            Verb::Repair(verb) => verb.run(place),
            Verb::Prove(verb) => verb.run(place),
            Verb::Verify(verb) => verb.run(place),
            Verb::Statetest(verb) => verb.run(place),
            Verb::Blocktest(verb) => verb.run(place),
            Verb::Genesis(verb) => verb.run(place),
            Verb::Import(verb) => verb.run(place),
            Verb::Serve(verb) => verb.run(place),
        }
    }
}
