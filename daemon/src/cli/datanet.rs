//! `openledger datanet`: sets of datasets that somebody answers for, for everybody or for members only.
//!
//! `--json` prints one object: `create`, `show` and `join` a [`DatanetResponse`], `ls` a list of them, `members` a list of
//! [`MemberLine`], `sync` `{"datanet", "answered"}`, `key` `{"key"}`, everything else `{"datanet", "statement"}`, the name
//! of what was said. A statement that proposes is the name of the proposal.

use clap::{Args, Subcommand};
use protocol::{Account, BlobHash, DatanetId, NodeId};
use serde_json::Value;

use super::{Place, data::ask_of, exit::Exit, output};
use base::operator::datanet::{
    CreateRequest, DatanetResponse, DatanetRequest, DatanetVerb, GrantRequest, JoinRequest, MemberLine, SayRequest,
};

/// Found, join and speak in datanets
#[derive(Debug, Args)]
pub(crate) struct Datanet {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Create),
    /// Print the datanets that are known here
    #[command(after_help = "Example: openledger datanet ls")]
    Ls,
    /// Print a datanet: its terms, versions and proposals
    #[command(
        after_help = "Example: openledger datanet show 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Show {
        /// Its name
        id: DatanetId,
    },
    /// Print who reads a permissioned datanet
    #[command(
        after_help = "Example: openledger datanet members 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Members {
        /// Its name
        id: DatanetId,
    },
    Grant(Grant),
    /// Take a member out: its transfers stop, and what is sealed from now on is closed to it
    #[command(
        after_help = "Example: openledger datanet revoke 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x9ac29c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Revoke {
        /// The datanet
        id: DatanetId,
        /// Whom
        node: NodeId,
    },
    /// Begin a new key without taking anybody out, as after a leak
    #[command(
        after_help = "Example: openledger datanet rotate 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Rotate {
        /// The datanet
        id: DatanetId,
    },
    /// Offer a dataset to a datanet
    #[command(
        after_help = "Example: openledger datanet propose 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x7d1e9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --licence CC-BY-4.0"
    )]
    Propose {
        /// The datanet
        id: DatanetId,
        /// The root of the dataset
        root: BlobHash,
        /// Its terms
        #[arg(long, alias = "license", value_name = "TERMS")]
        licence: String,
        /// Who is paid for it
        #[arg(long, value_name = "ADDRESS")]
        account: Option<Account>,
    },
    /// Approve a proposal
    #[command(
        after_help = "Example: openledger datanet approve 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x2b719c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Approve(Decision),
    /// Decline a proposal
    #[command(
        after_help = "Example: openledger datanet decline 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x2b719c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --why duplicate"
    )]
    Decline(Decision),
    /// Take back a proposal of your own
    #[command(
        after_help = "Example: openledger datanet withdraw 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x2b719c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Withdraw {
        /// The datanet
        id: DatanetId,
        /// The proposal
        proposal: BlobHash,
    },
    /// Ask the owner to look at a proposal of your own that was declined
    #[command(
        after_help = "Example: openledger datanet appeal 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x2b719c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --why original"
    )]
    Appeal(Decision),
    /// Publish a version: what was in the last, what is approved, and these roots
    #[command(
        after_help = "Example: openledger datanet publish 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x7d1e9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Publish {
        /// The datanet
        id: DatanetId,
        /// Datasets of your own
        #[arg(value_name = "ROOT")]
        roots: Vec<BlobHash>,
    },
    /// Stop serving a dataset, in every version
    #[command(
        after_help = "Example: openledger datanet bury 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x7d1e9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --why personal"
    )]
    Bury {
        /// The datanet
        id: DatanetId,
        /// The root of the dataset
        root: BlobHash,
        /// Why
        #[arg(long)]
        why: String,
    },
    /// Ask a member about a datanet that is not known here
    #[command(
        after_help = "Example: openledger datanet join 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --from 0x9ac29c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Join {
        /// The datanet
        id: DatanetId,
        /// A member, such as the owner
        #[arg(long, value_name = "NODE")]
        from: NodeId,
    },
    /// Compare what is known of a datanet with those who are connected, now instead of within 30 seconds
    #[command(
        after_help = "Example: openledger datanet sync 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3"
    )]
    Sync {
        /// The datanet
        id: DatanetId,
    },
    /// Print the key that grants to this node carry
    #[command(after_help = "Example: openledger datanet key")]
    Key,
}

/// Found a datanet
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger datanet create maths --licence CC-BY-4.0 --permissioned")]
struct Create {
    /// What people call it
    name: String,
    /// What everything in it may at least be used for
    #[arg(long, alias = "license", value_name = "TERMS")]
    licence: String,
    /// Only members read, and its shards are sealed
    #[arg(long)]
    permissioned: bool,
    /// Who may add: everybody at once, everybody once approved, or members
    #[arg(long, default_value = "curated", value_parser = ["open", "curated", "members"])]
    contribution: String,
    /// A node that approves and publishes beside you; may be repeated
    #[arg(long = "curator", value_name = "NODE")]
    curators: Vec<NodeId>,
    /// Your account on the chain
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Account>,
}

/// Make a node a member
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger datanet grant 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x9ac29c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --role reader --days 30"
)]
struct Grant {
    /// The datanet
    id: DatanetId,
    /// Whom
    node: NodeId,
    /// As what
    #[arg(long, default_value = "reader", value_parser = ["reader", "contributor", "curator"])]
    role: String,
    /// The key that `openledger datanet key` prints at that node; it is asked for if not given
    #[arg(long, value_name = "KEY")]
    member_key: Option<String>,
    /// For how many days
    #[arg(long, default_value_t = 365)]
    days: u32,
}

#[derive(Debug, Args)]
struct Decision {
    /// The datanet
    id: DatanetId,
    /// The proposal
    proposal: BlobHash,
    /// Why
    #[arg(long, default_value = "")]
    why: String,
}

impl Datanet {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let (id, what) = match self.verb {
            Verb::Create(create) => return create.run(place),
            Verb::Ls => return list(place),
            Verb::Show { id } => return show(place, "/v1/datanet/show", &DatanetRequest { id }),
            Verb::Join { id, from } => return show(place, "/v1/datanet/join", &JoinRequest { id, from }),
            Verb::Members { id } => return members(place, id),
            Verb::Sync { id } => return sync(place, id),
            Verb::Key => return key(place),
            Verb::Grant(grant) => grant.said(),
            Verb::Revoke { id, node } => (id, DatanetVerb::Revoke { node }),
            Verb::Rotate { id } => (id, DatanetVerb::Rotate),
            Verb::Propose {
                id,
                root,
                licence,
                account,
            } => (id, DatanetVerb::Propose { root, licence, account }),
            Verb::Approve(decision) => decision.said(true),
            Verb::Decline(decision) => decision.said(false),
            Verb::Withdraw { id, proposal } => (id, DatanetVerb::Withdraw { proposal }),
            Verb::Appeal(Decision { id, proposal, why }) => (id, DatanetVerb::Appeal { proposal, why }),
            Verb::Publish { id, roots } => (id, DatanetVerb::Publish { roots }),
            Verb::Bury { id, root, why } => (id, DatanetVerb::Bury { root, why }),
        };
        let said: Value = ask_of(place, "/v1/datanet/say", &SayRequest { id, what })?;
        place.show(&said, || {
            format!("said {}", said["statement"].as_str().unwrap_or_default())
        });
        Ok(Exit::Done)
    }
}

impl Create {
    fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let ask = CreateRequest {
            name: self.name,
            licence: self.licence,
            permissioned: self.permissioned,
            contribution: self.contribution,
            curators: self.curators,
            account: self.account,
        };
        show(place, "/v1/datanet/create", &ask)
    }
}

impl Grant {
    fn said(self) -> (DatanetId, DatanetVerb) {
        let grant = GrantRequest {
            node: self.node,
            role: self.role,
            key: self.member_key,
            days: self.days,
        };
        (self.id, DatanetVerb::Grant(grant))
    }
}

impl Decision {
    fn said(self, approve: bool) -> (DatanetId, DatanetVerb) {
        let Self { id, proposal, why } = self;
        (id, DatanetVerb::Decide { proposal, approve, why })
    }
}

fn show(place: &Place, path: &str, ask: &impl serde::Serialize) -> anyhow::Result<Exit> {
    let answer: DatanetResponse = ask_of(place, path, ask)?;
    place.show(&answer, || described(&answer));
    Ok(Exit::Done)
}

fn described(answer: &DatanetResponse) -> String {
    let version = answer.version.as_ref();
    let mut rows = vec![
        ("Datanet", answer.id.to_string()),
        ("Name", answer.name.clone()),
        ("Owner", answer.owner.to_string()),
        ("Access", answer.access.clone()),
        ("Contribution", answer.contribution.clone()),
        ("Licence", answer.licence.clone()),
        ("This node", answer.may.join(", ")),
        (
            "Version",
            version.map_or("none".to_owned(), |it| {
                format!("{}, {} datasets", it.number, it.datasets)
            }),
        ),
    ];
    if answer.access == "permissioned" {
        let held = if answer.has_key { "here" } else { "not here" };
        rows.push(("Key", format!("{}, {held}", answer.epoch)));
    }
    rows.extend(answer.published.iter().map(|root| ("Published", root.to_string())));
    rows.extend(answer.proposals.iter().map(|it| {
        (
            "Proposal",
            format!(
                "{}  {}  of {}  by {:#}",
                it.proposal, it.standing, it.root, it.contributor
            ),
        )
    }));
    output::columns(&rows)
}

fn list(place: &Place) -> anyhow::Result<Exit> {
    let known: Vec<DatanetResponse> = ask_of(place, "/v1/datanet/ls", &Value::Null)?;
    place.show(&known, || {
        let line = |it: &DatanetResponse| format!("{}  {}  {}  {}", it.id, it.name, it.access, it.may.join(", "));
        match known.is_empty() {
            true => "no datanets here; `openledger datanet create NAME --licence TERMS` founds one".to_owned(),
            false => known.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(Exit::Done)
}

fn members(place: &Place, id: DatanetId) -> anyhow::Result<Exit> {
    let members: Vec<MemberLine> = ask_of(place, "/v1/datanet/members", &DatanetRequest { id })?;
    place.show(&members, || {
        let line = |it: &MemberLine| {
            let role = if it.approves { "reads and approves" } else { "reads" };
            format!(
                "{}  {role}  keys from {}  until {} s",
                it.node,
                it.epoch,
                it.until_ms / 1000
            )
        };
        match members.is_empty() {
            true => "nobody but the owner; `openledger datanet grant ID NODE` adds one".to_owned(),
            false => members.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(Exit::Done)
}

fn sync(place: &Place, id: DatanetId) -> anyhow::Result<Exit> {
    let synced: Value = ask_of(place, "/v1/datanet/sync", &DatanetRequest { id })?;
    place.show(&synced, || format!("{} members answered", synced["answered"]));
    Ok(Exit::Done)
}

fn key(place: &Place) -> anyhow::Result<Exit> {
    let key: Value = ask_of(place, "/v1/datanet/key", &Value::Null)?;
    place.show(&key, || key["key"].as_str().unwrap_or_default().to_owned());
    Ok(Exit::Done)
}
