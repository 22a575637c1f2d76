//! `openledger id`: who this home is. `{"node_id", "validator", "accounts": ["0x…"]}`; `validator` is null without a
//! validator key. Secrets are not shown.

use alloy_primitives::Address;
use clap::Args;
use protocol::{NodeId, ValidatorKey};
use serde::Serialize;

use super::{Place, exit::Exit, output};
use crate::wallet;
use base::key;

/// Print the public names of this node, its validator and its accounts
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger id --json")]
pub(crate) struct Id {}

#[derive(Serialize)]
struct Shown {
    node_id: NodeId,
    validator: Option<ValidatorKey>,
    accounts: Vec<Address>,
}

impl Id {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let home = place.home();
        if !home.node_key().exists() {
            return Err(place.no_home("there is no node key").into());
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
        place.show(&shown, || text(&shown));
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
