//! `openledger chain`: blocks, transactions, validators and proofs, read from the running node or from the block log of a
//! stopped one.

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
use super::{Globals, exit::Exit};

/// Show blocks and transactions, prove and verify accounts, repair the block log
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger chain block latest")]
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
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Status(verb) => verb.run(globals),
            Verb::Block(verb) => verb.run(globals),
            Verb::Tx(verb) => verb.run(globals),
            Verb::Validators(verb) => verb.run(globals),
            Verb::Evidence(verb) => verb.run(globals),
            Verb::Repair(verb) => verb.run(globals),
            Verb::Prove(verb) => verb.run(globals),
            Verb::Verify(verb) => verb.run(globals),
            Verb::Statetest(verb) => verb.run(globals),
            Verb::Blocktest(verb) => verb.run(globals),
            Verb::Genesis(verb) => verb.run(globals),
            Verb::Import(verb) => verb.run(globals),
            Verb::Serve(verb) => verb.run(globals),
        }
    }
}
