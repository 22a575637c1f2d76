//! `openledger pin`: keeps datasets in this home, and makes deals with other nodes that keep copies.
//!
//! `verify` ends with exit code 7 if a copy fails its proof.

use clap::{Args, Subcommand};
use protocol::{Account, BlobHash, NodeId};
use serde_json::Value;

use super::{Globals, data::request, exit::Exit, output};
use base::operator::{
    dataset::RootRequest,
    pin::{DealLine, PinAddRequest, PinStatus, PinsResponse, RenewRequest, VerifyRequest},
};

/// Keep datasets, here or as copies on other nodes
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger pin ls")]
pub(crate) struct Pin {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Add),
    /// Extend the deals about a dataset
    #[command(
        after_help = "Example: openledger pin renew 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --days 30\n\n\
                      JSON: what `pin status` prints"
    )]
    Renew {
        /// Root of the dataset
        root: BlobHash,
        /// Days to add to the agreed time
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// End the deals about a dataset and remove the pin of this home; `data rm` removes the dataset itself
    #[command(
        after_help = "Example: openledger pin rm 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {root, deals_ended}"
    )]
    Rm {
        /// Root of the dataset
        root: BlobHash,
    },
    /// List what this home keeps, what others keep for it, and what it keeps for others
    #[command(after_help = "Example: openledger pin ls\n\n\
                      JSON: {kept: [{root, kept_for, complete}], deals: [{deal, root, copies, held, hosts: [{node, holds, held, \
                      missed, misses_in_a_row, false_proofs, last_epoch, last_outcome, served, not_served}], until_ms, spent, \
                      escrow, over}], hosted: [{deal, root, owner, bytes, registered, until_ms}]}")]
    Ls,
    /// Show the copies, hosts, audits and costs of a pinned dataset
    #[command(
        after_help = "Example: openledger pin status 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {root, kept_for, deals: [{deal, root, copies, held, hosts: [{node, holds, held, missed, misses_in_a_row, \
                      false_proofs, last_epoch, last_outcome, served, not_served}], until_ms, spent, escrow, over}], \
                      hosted: [{deal, root, owner, bytes, registered, until_ms}]}"
    )]
    Status {
        /// Root of the dataset
        root: BlobHash,
    },
    /// Challenge every copy now to prove randomly drawn chunks
    #[command(
        after_help = "Example: openledger pin verify 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {root, checked: [{node, chunks}]}"
    )]
    Verify {
        /// Root of the dataset
        root: BlobHash,
        /// Challenge only the copy on this node
        #[arg(long, value_name = "NODE")]
        node: Option<NodeId>,
    },
}

/// Fetch and keep a dataset here; with --copies, have other nodes keep it
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger pin add 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --copies 2\n\n\
                      JSON: what `pin status` prints"
)]
struct Add {
    /// Root of the dataset
    root: BlobHash,
    /// Number of other nodes that should keep a copy
    #[arg(long)]
    copies: Option<u16>,
    /// Days to keep the copies
    #[arg(long, default_value_t = 30, requires = "copies")]
    days: u32,
    /// Price per GiB and epoch, such as "0.01 OPEN"
    #[arg(long, value_name = "OPEN", requires = "copies")]
    price: Option<String>,
    /// Prefer this host; may be repeated
    #[arg(long = "host", value_name = "NODE", requires = "copies")]
    hosts: Vec<NodeId>,
    /// Account that pays
    #[arg(long, value_name = "ADDRESS", requires = "copies")]
    account: Option<Account>,
}

impl Pin {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Add(add) => {
                let Add {
                    root,
                    copies,
                    days,
                    price,
                    hosts,
                    account,
                } = add;
                let ask = PinAddRequest {
                    root,
                    copies,
                    days,
                    price,
                    hosts,
                    account,
                };
                show(globals, &request(globals, "/v1/pin/add", &ask)?);
            }
            Verb::Renew { root, days } => show(
                globals,
                &request(globals, "/v1/pin/renew", &RenewRequest { root, days })?,
            ),
            Verb::Status { root } => show(globals, &request(globals, "/v1/pin/status", &RootRequest { root })?),
            Verb::Ls => list(globals)?,
            Verb::Rm { root } => {
                let ended: Value = request(globals, "/v1/pin/rm", &RootRequest { root })?;
                globals.show(&ended, || {
                    format!("unpinned {root} and ended {} deals", ended["deals_ended"])
                });
            }
            Verb::Verify { root, node } => {
                let checked: Value = request(globals, "/v1/pin/verify", &VerifyRequest { root, node })?;
                globals.show(&checked, || {
                    let copies = checked["checked"].as_array().into_iter().flatten();
                    let line = |it: &Value| {
                        format!(
                            "{} proved {} chunks",
                            it["node"].as_str().unwrap_or_default(),
                            it["chunks"]
                        )
                    };
                    copies.map(line).collect::<Vec<_>>().join("\n")
                });
            }
        }
        Ok(Exit::Done)
    }
}

fn show(globals: &Globals, status: &PinStatus) {
    globals.show(status, || {
        let mut rows = vec![("Root", status.root.to_string())];
        rows.extend(status.kept_for.iter().map(|why| ("Kept here", why.clone())));
        rows.extend(status.deals.iter().flat_map(deal));
        rows.extend(
            status
                .hosted
                .iter()
                .map(|it| ("Kept for", format!("{}  {} bytes", it.owner, it.bytes))),
        );
        output::columns(&rows)
    });
}

fn deal(deal: &DealLine) -> Vec<(&'static str, String)> {
    let state = if deal.over { ", ended" } else { "" };
    let mut rows = vec![
        ("Deal", deal.deal.clone()),
        ("Copies", format!("{} of {} held{state}", deal.held, deal.copies)),
        ("Until", output::time(deal.until_ms)),
        ("Owed", format!("{} of {}", deal.spent, deal.escrow)),
    ];
    rows.extend(deal.hosts.iter().map(|host| {
        let last = match (host.last_epoch, &host.last_outcome) {
            (Some(epoch), Some(outcome)) => format!("last audit {outcome} in epoch {epoch}"),
            _ => "not audited yet".to_owned(),
        };
        let holds = if host.holds { "holds a copy" } else { "lost its copy" };
        let text = format!(
            "{}  {holds}  {} audits passed, {} missed  {last}",
            host.node, host.held, host.missed
        );
        ("Host", text)
    }));
    rows
}

fn list(globals: &Globals) -> anyhow::Result<()> {
    let all: PinsResponse = request(globals, "/v1/pin/ls", &Value::Null)?;
    globals.show(&all, || {
        let kept = all
            .kept
            .iter()
            .map(|it| format!("{}  here: {}", it.root, it.kept_for.join(", ")));
        let deals = all
            .deals
            .iter()
            .map(|it| format!("{}  with others: {} of {} copies", it.root, it.held, it.copies));
        let hosted = all
            .hosted
            .iter()
            .map(|it| format!("{}  here for {:#}: {} bytes", it.root, it.owner, it.bytes));
        let lines: Vec<_> = kept.chain(deals).chain(hosted).collect();
        match lines.is_empty() {
            true => "nothing is pinned; `openledger pin add ROOT` pins a dataset".to_owned(),
            false => lines.join("\n"),
        }
    });
    Ok(())
}
