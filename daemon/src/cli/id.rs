//! `openledger id`: the public keys of this home. Secrets are not shown.

use alloy_primitives::Address;
use clap::Args;
use protocol::{NodeId, ValidatorKey};
use serde::Serialize;

use super::{Globals, exit::Exit, output};
use crate::wallet;
use base::key;

/// Print the node ID, the validator key and the accounts of this home
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger id --json\n\nJSON: {node_id, validator, accounts: [ADDRESS]}; validator is null without a validator key"
)]
pub(crate) struct Id {}

#[derive(Serialize)]
struct Shown {
    node_id: NodeId,
    validator: Option<ValidatorKey>,
    accounts: Vec<Address>,
}

impl Id {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let home = globals.home();
        if !home.node_key().exists() {
            return Err(globals.no_home("there is no node key").into());
        }
        let validator = home.validator_key();
        let shown = Shown {
            node_id: NodeId(key::read(&home.node_key())?.public()),
            validator: validator
                .exists()
                .then(|| key::read(&validator))
                .transpose()?
                .map(|key| key.validator()),
            accounts: wallet::Wallet::new(&home).accounts()?,
        };
        globals.show(&shown, || text(&shown));
        Ok(Exit::Done)
    }
}

fn text(shown: &Shown) -> String {
    let validator = shown
        .validator
        .map_or("none: this node does not vote".to_owned(), |key| key.to_string());
    let mut rows = vec![("Node", shown.node_id.to_string()), ("Validator", validator)];
    rows.extend(shown.accounts.iter().map(|account| ("Account", account.to_string())));
    output::columns(&rows)
}
