//! `openledger worker`: announces the work that this node does for others. `openledger peers workers` lists the offers of
//! other nodes.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Globals, data::request, exit::Exit, output};
use base::operator::work::{OfferRequest, OfferResponse};

/// Offer training, inference or audits to other nodes
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger worker status")]
pub(crate) struct Worker {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Announce that this node accepts jobs, for the base models that `model ls` lists
    #[command(
        after_help = "Example: openledger worker offer infer --price \"infer=0.5 OPEN\"\n\nJSON: what `worker status` prints"
    )]
    Offer {
        /// Kinds of jobs
        #[arg(required = true, value_parser = ["train", "infer", "audit"])]
        kinds: Vec<String>,
        /// Price of a million tokens, such as "infer=0.5 OPEN"; may be repeated
        #[arg(long = "price", value_name = "KIND=OPEN", value_parser = price)]
        prices: Vec<(String, String)>,
    },
    /// Withdraw the offer
    #[command(after_help = "Example: openledger worker withdraw\n\nJSON: {was_offered}")]
    Withdraw,
    /// Show the offer, the base models and the machine
    #[command(after_help = "Example: openledger worker status\n\n\
                      JSON: {offer: {kinds, prices}, bases, device, threads, memory_gib}; offer is null without one")]
    Status,
}

fn price(text: &str) -> Result<(String, String), String> {
    let (kind, price) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not a price; write one such as \"infer=0.5 OPEN\""))?;
    Ok((kind.to_owned(), price.to_owned()))
}

impl Worker {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Offer { kinds, prices } => {
                let ask = OfferRequest {
                    kinds: kinds.into_iter().collect::<BTreeSet<_>>(),
                    prices: prices.into_iter().collect::<BTreeMap<_, _>>(),
                };
                show(globals, &request(globals, "/v1/work/offer", &ask)?);
            }
            Verb::Withdraw => {
                let answer: Value = request(globals, "/v1/work/withdraw", &Value::Null)?;
                globals.show(&answer, || match answer["was_offered"].as_bool() {
                    Some(true) => "withdrew the offer".to_owned(),
                    _ => "there was no offer to withdraw".to_owned(),
                });
            }
            Verb::Status => show(globals, &request(globals, "/v1/work/status", &Value::Null)?),
        }
        Ok(Exit::Done)
    }
}

fn show(globals: &Globals, answer: &OfferResponse) {
    globals.show(answer, || {
        let offered = match &answer.offer {
            None => "nothing; `openledger worker offer infer` offers inference".to_owned(),
            Some(offer) => offer.kinds.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        let mut rows = vec![("Offered", offered)];
        let prices = answer.offer.iter().flat_map(|offer| &offer.prices);
        rows.extend(prices.map(|(kind, price)| ("Price", format!("{kind}: {price} for a million tokens"))));
        rows.extend(answer.bases.iter().map(|base| ("Base model", base.to_string())));
        let machine = format!(
            "{}, {} threads, {} GiB",
            answer.device, answer.threads, answer.memory_gib
        );
        rows.push(("Machine", machine));
        output::columns(&rows)
    });
}
