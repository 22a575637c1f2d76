//! `openledger pin`: datasets that stay, here or with others.
//!
//! `--json` prints one object: `add`, `renew` and `status` a [`PinStatus`], `ls` a [`PinsResponse`], `rm` `{"root", "deals_ended"}`,
//! `verify` `{"root", "checked": [{"node", "chunks"}]}` and exit code 7 if a copy does not verify.

use clap::{Args, Subcommand};
use protocol::{Account, BlobHash, NodeId};
use serde_json::Value;

use super::{Place, data::ask_of, exit::Exit, output};
use base::operator::{
    dataset::RootRequest,
    pin::{DealLine, PinAddRequest, PinStatus, PinsResponse, RenewRequest, VerifyRequest},
};

/// Keep datasets here, or have others keep copies
#[derive(Debug, Args)]
pub(crate) struct Pin {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Add),
    /// Let deals about a dataset go on for longer
    #[command(
        after_help = "Example: openledger pin renew 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --days 30"
    )]
    Renew {
        /// Its root
        root: BlobHash,
        /// For how many days beyond those that were agreed on
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// End deals about a dataset, and keep it here no longer
    #[command(
        after_help = "Example: openledger pin rm 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Rm {
        /// Its root
        root: BlobHash,
    },
    /// Print everything that is kept here, kept by others, and kept here for others
    #[command(after_help = "Example: openledger pin ls")]
    Ls,
    /// Print how a dataset is kept: copies, hosts, audits, what is owed
    #[command(
        after_help = "Example: openledger pin status 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Status {
        /// Its root
        root: BlobHash,
    },
    /// Draw chunks now and have every copy prove them
    #[command(
        after_help = "Example: openledger pin verify 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Verify {
        /// Its root
        root: BlobHash,
        /// Only the copy of this node
        #[arg(long, value_name = "NODE")]
        node: Option<NodeId>,
    },
}

/// Keep a dataset here; with --copies, have others keep it
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger pin add 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --copies 2"
)]
struct Add {
    /// Its root
    root: BlobHash,
    /// How many others should keep it
    #[arg(long)]
    copies: Option<u16>,
    /// For how many days
    #[arg(long, default_value_t = 30, requires = "copies")]
    days: u32,
    /// What is paid per GiB and epoch, such as "0.01 OPEN"
    #[arg(long, value_name = "OPEN", requires = "copies")]
    price: Option<String>,
    /// Ask this node first; may be repeated
    #[arg(long = "host", value_name = "NODE", requires = "copies")]
    hosts: Vec<NodeId>,
    /// The account that pays
    #[arg(long, value_name = "ADDRESS", requires = "copies")]
    account: Option<Account>,
}

impl Pin {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
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
                show(place, &ask_of(place, "/v1/pin/add", &ask)?);
            }
            Verb::Renew { root, days } => show(place, &ask_of(place, "/v1/pin/renew", &RenewRequest { root, days })?),
            Verb::Status { root } => show(place, &ask_of(place, "/v1/pin/status", &RootRequest { root })?),
            Verb::Ls => list(place)?,
            Verb::Rm { root } => {
                let ended: Value = ask_of(place, "/v1/pin/rm", &RootRequest { root })?;
                place.show(&ended, || {
                    format!("{root} is pinned no longer; {} deals ended", ended["deals_ended"])
                });
            }
            Verb::Verify { root, node } => {
                let checked: Value = ask_of(place, "/v1/pin/verify", &VerifyRequest { root, node })?;
                place.show(&checked, || {
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

fn show(place: &Place, status: &PinStatus) {
    place.show(status, || {
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
    let state = if deal.over { ", over" } else { "" };
    let mut rows = vec![
        ("Deal", deal.deal.clone()),
        ("Copies", format!("{} of {} held{state}", deal.held, deal.copies)),
        ("Until", until(deal.until_ms)),
        ("Owed", format!("{} of {}", deal.spent, deal.escrow)),
    ];
    rows.extend(deal.hosts.iter().map(|host| {
        let last = match (host.last_epoch, &host.last_outcome) {
            (Some(epoch), Some(outcome)) => format!("last audit {outcome} in epoch {epoch}"),
            _ => "not audited yet".to_owned(),
        };
        let holds = if host.holds { "holds" } else { "lost it" };
        let text = format!(
            "{}  {holds}  {} held, {} missed  {last}",
            host.node, host.held, host.missed
        );
        ("Host", text)
    }));
    rows
}

/// A time as people write it, to the second.
fn until(ms: u64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms / 1000 * 1000);
    humantime::format_rfc3339_seconds(at).to_string()
}

fn list(place: &Place) -> anyhow::Result<()> {
    let all: PinsResponse = ask_of(place, "/v1/pin/ls", &Value::Null)?;
    place.show(&all, || {
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
            true => "nothing is pinned; `openledger pin add ROOT` keeps a dataset".to_owned(),
            false => lines.join("\n"),
        }
    });
    Ok(())
}
