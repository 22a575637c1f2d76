//! `openledger worker`: work that this node offers to others.
//!
//! `--json` prints one object: `offer` and `status` an [`OfferResponse`], `withdraw` `{"was_offered"}`. `openledger peers
//! workers` shows who else offers any.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Place, data::ask_of, exit::Exit, output};
use base::operator::work::{OfferResponse, OfferRequest};

/// Offer work to others: training, inference, audits
#[derive(Debug, Args)]
pub(crate) struct Worker {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Announce that this node takes work, with the base models that `model ls` lists
    #[command(after_help = "Example: openledger worker offer infer --price \"infer=0.5 OPEN\"")]
    Offer {
        /// What kinds
        #[arg(required = true, value_parser = ["train", "infer", "audit"])]
        kinds: Vec<String>,
        /// What a million tokens cost, such as "infer=0.5 OPEN"; may be repeated
        #[arg(long = "price", value_name = "KIND=OPEN", value_parser = price)]
        prices: Vec<(String, String)>,
    },
    /// Take the offer back
    #[command(after_help = "Example: openledger worker withdraw")]
    Withdraw,
    /// Print what is offered, and with what it would be done
    #[command(after_help = "Example: openledger worker status")]
    Status,
}

fn price(text: &str) -> Result<(String, String), String> {
    let (kind, price) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is no price; write one such as \"infer=0.5 OPEN\""))?;
    Ok((kind.to_owned(), price.to_owned()))
}

impl Worker {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Offer { kinds, prices } => {
                let ask = OfferRequest {
                    kinds: kinds.into_iter().collect::<BTreeSet<_>>(),
                    prices: prices.into_iter().collect::<BTreeMap<_, _>>(),
                };
                show(place, &ask_of(place, "/v1/work/offer", &ask)?);
            }
            Verb::Withdraw => {
                let answer: Value = ask_of(place, "/v1/work/withdraw", &Value::Null)?;
                place.show(&answer, || match answer["was_offered"].as_bool() {
                    Some(true) => "no work is offered any more".to_owned(),
                    _ => "no work was offered".to_owned(),
                });
            }
            Verb::Status => show(place, &ask_of(place, "/v1/work/status", &Value::Null)?),
        }
        Ok(Exit::Done)
    }
}

fn show(place: &Place, answer: &OfferResponse) {
    place.show(answer, || {
        let offered = match &answer.offer {
            None => "nothing; `openledger worker offer` announces something".to_owned(),
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
