//! `openledger datanet`: creates, joins and curates datanets, which are collections of datasets with an owner, terms and
//! versions, readable by everybody or by members only.
//!
//! Verbs that change a datanet publish a signed statement and print its hash. The hash of a `propose` statement is the
//! name of the proposal.

use clap::{Args, Subcommand};
use protocol::{Account, BlobHash, DatanetId, NodeId};
use serde_json::Value;

use super::{Globals, data::request, exit::Exit, output};
use base::operator::datanet::{
    CreateRequest, DatanetRequest, DatanetResponse, DatanetVerb, GrantRequest, JoinRequest, MemberLine, SayRequest,
};

/// Create, join and curate datanets
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger datanet create maths --licence CC-BY-4.0")]
pub(crate) struct Datanet {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Create),
    /// List the datanets that this node knows
    #[command(after_help = "Example: openledger datanet ls\n\nJSON: a list of what `datanet show` prints")]
    Ls,
    /// Print the terms, versions and proposals of a datanet
    #[command(
        after_help = "Example: openledger datanet show 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {id, name, owner, access, contribution, licence, epoch, has_key, may, version: {number, datasets}, published, \
                      proposals: [{proposal, root, contributor, licence, standing}], statements}"
    )]
    Show {
        /// ID of the datanet
        id: DatanetId,
    },
    /// List the members of a permissioned datanet
    #[command(
        after_help = "Example: openledger datanet members 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: [{node, epoch, until_ms, approves}]"
    )]
    Members {
        /// ID of the datanet
        id: DatanetId,
    },
    Grant(Grant),
    /// Remove a member: its transfers stop, and data sealed from now on uses a key it does not have
    #[command(
        after_help = "Example: openledger datanet revoke 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x9ac29c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {datanet, statement}"
    )]
    Revoke {
        /// ID of the datanet
        id: DatanetId,
        /// Node to remove
        node: NodeId,
    },
    /// Start a new key without removing a member, for example after a leak
    #[command(
        after_help = "Example: openledger datanet rotate 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {datanet, statement}"
    )]
    Rotate {
        /// ID of the datanet
        id: DatanetId,
    },
    /// Propose a dataset to a datanet
    #[command(
        after_help = "Example: openledger datanet propose 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x7d1e9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --licence CC-BY-4.0\n\n\
                      JSON: {datanet, statement}"
    )]
    Propose {
        /// ID of the datanet
        id: DatanetId,
        /// Root of the dataset
        root: BlobHash,
        /// Licence of the dataset
        #[arg(long, alias = "license", value_name = "TERMS")]
        licence: String,
        /// Account that is paid for it
        #[arg(long, value_name = "ADDRESS")]
        account: Option<Account>,
    },
    /// Approve a proposal
    #[command(
        after_help = "Example: openledger datanet approve 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x2b719c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {datanet, statement}"
    )]
    Approve(Decision),
    /// Decline a proposal
    #[command(
        after_help = "Example: openledger datanet decline 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x2b719c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --why duplicate\n\n\
                      JSON: {datanet, statement}"
    )]
    Decline(Decision),
    /// Withdraw a proposal of this node
    #[command(
        after_help = "Example: openledger datanet withdraw 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x2b719c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {datanet, statement}"
    )]
    Withdraw {
        /// ID of the datanet
        id: DatanetId,
        /// Hash of the proposal
        proposal: BlobHash,
    },
    /// Ask the owner to review a declined proposal of this node
    #[command(
        after_help = "Example: openledger datanet appeal 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x2b719c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --why original\n\n\
                      JSON: {datanet, statement}"
    )]
    Appeal(Decision),
    /// Publish a version: the datasets of the last version, the approved proposals, and these roots
    #[command(
        after_help = "Example: openledger datanet publish 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x7d1e9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {datanet, statement}"
    )]
    Publish {
        /// ID of the datanet
        id: DatanetId,
        /// Datasets of this node to include
        #[arg(value_name = "ROOT")]
        roots: Vec<BlobHash>,
    },
    /// Stop serving a dataset, in every version
    #[command(
        after_help = "Example: openledger datanet bury 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x7d1e9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --why personal\n\n\
                      JSON: {datanet, statement}"
    )]
    Bury {
        /// ID of the datanet
        id: DatanetId,
        /// Root of the dataset
        root: BlobHash,
        /// Reason, which members see
        #[arg(long)]
        why: String,
    },
    /// Learn about a datanet from one of its members
    #[command(
        after_help = "Example: openledger datanet join 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --from 0x9ac29c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: what `datanet show` prints"
    )]
    Join {
        /// ID of the datanet
        id: DatanetId,
        /// A member to ask, such as the owner
        #[arg(long, value_name = "NODE")]
        from: NodeId,
    },
    /// Synchronise a datanet with the connected members now, instead of within 30 seconds
    #[command(
        after_help = "Example: openledger datanet sync 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3\n\n\
                      JSON: {datanet, answered}"
    )]
    Sync {
        /// ID of the datanet
        id: DatanetId,
    },
    /// Print the public key to which a datanet's key is sealed for this node
    #[command(after_help = "Example: openledger datanet key\n\nJSON: {key}")]
    Key,
}

/// Create a datanet
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger datanet create maths --licence CC-BY-4.0 --permissioned\n\nJSON: what `datanet show` prints"
)]
struct Create {
    /// Name of the datanet
    name: String,
    /// Licence that every dataset in it must allow
    #[arg(long, alias = "license", value_name = "TERMS")]
    licence: String,
    /// Only members may read; shards are encrypted
    #[arg(long)]
    permissioned: bool,
    /// Who may contribute: everybody (open), everybody after approval (curated), or members
    #[arg(long, default_value = "curated", value_parser = ["open", "curated", "members"])]
    contribution: String,
    /// A node that may approve and publish; may be repeated
    #[arg(long = "curator", value_name = "NODE")]
    curators: Vec<NodeId>,
    /// Account of the owner
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Account>,
}

/// Make a node a member
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger datanet grant 0x6f1b9c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 0x9ac29c0d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3 --role reader --days 30\n\n\
                      JSON: {datanet, statement}"
)]
struct Grant {
    /// ID of the datanet
    id: DatanetId,
    /// Node to add
    node: NodeId,
    /// Role of the member
    #[arg(long, default_value = "reader", value_parser = ["reader", "contributor", "curator"])]
    role: String,
    /// Public key that `openledger datanet key` prints on that node; requested from the node if not given
    #[arg(long, value_name = "KEY")]
    member_key: Option<String>,
    /// Days until the membership ends
    #[arg(long, default_value_t = 365)]
    days: u32,
}

#[derive(Debug, Args)]
struct Decision {
    /// ID of the datanet
    id: DatanetId,
    /// Hash of the proposal
    proposal: BlobHash,
    /// Reason, which the contributor sees
    #[arg(long, default_value = "")]
    why: String,
}

impl Datanet {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let (id, what) = match self.verb {
            Verb::Create(create) => return create.run(globals),
            Verb::Ls => return list(globals),
            Verb::Show { id } => return show(globals, "/v1/datanet/show", &DatanetRequest { id }),
            Verb::Join { id, from } => return show(globals, "/v1/datanet/join", &JoinRequest { id, from }),
            Verb::Members { id } => return members(globals, id),
            Verb::Sync { id } => return sync(globals, id),
            Verb::Key => return key(globals),
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
        let said: Value = request(globals, "/v1/datanet/say", &SayRequest { id, what })?;
        globals.show(&said, || {
            format!("published statement {}", said["statement"].as_str().unwrap_or_default())
        });
        Ok(Exit::Done)
    }
}

impl Create {
    fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let ask = CreateRequest {
            name: self.name,
            licence: self.licence,
            permissioned: self.permissioned,
            contribution: self.contribution,
            curators: self.curators,
            account: self.account,
        };
        show(globals, "/v1/datanet/create", &ask)
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

fn show(globals: &Globals, path: &str, ask: &impl serde::Serialize) -> anyhow::Result<Exit> {
    let answer: DatanetResponse = request(globals, path, ask)?;
    globals.show(&answer, || described(&answer));
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
        let held = if answer.has_key { "" } else { "not " };
        rows.push(("Key", format!("number {}, {held}held by this node", answer.epoch)));
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

fn list(globals: &Globals) -> anyhow::Result<Exit> {
    let known: Vec<DatanetResponse> = request(globals, "/v1/datanet/ls", &Value::Null)?;
    globals.show(&known, || {
        let line = |it: &DatanetResponse| format!("{}  {}  {}  {}", it.id, it.name, it.access, it.may.join(", "));
        match known.is_empty() {
            true => {
                "this node knows no datanets; `openledger datanet create NAME --licence TERMS` creates one".to_owned()
            }
            false => known.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(Exit::Done)
}

fn members(globals: &Globals, id: DatanetId) -> anyhow::Result<Exit> {
    let members: Vec<MemberLine> = request(globals, "/v1/datanet/members", &DatanetRequest { id })?;
    globals.show(&members, || {
        let line = |it: &MemberLine| {
            let role = if it.approves { "reads and approves" } else { "reads" };
            format!(
                "{}  {role}  from key {}  until {}",
                it.node,
                it.epoch,
                output::time(it.until_ms)
            )
        };
        match members.is_empty() {
            true => "no members beside the owner; `openledger datanet grant ID NODE` adds one".to_owned(),
            false => members.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(Exit::Done)
}

fn sync(globals: &Globals, id: DatanetId) -> anyhow::Result<Exit> {
    let synced: Value = request(globals, "/v1/datanet/sync", &DatanetRequest { id })?;
    globals.show(&synced, || format!("{} members answered", synced["answered"]));
    Ok(Exit::Done)
}

fn key(globals: &Globals) -> anyhow::Result<Exit> {
    let key: Value = request(globals, "/v1/datanet/key", &Value::Null)?;
    globals.show(&key, || key["key"].as_str().unwrap_or_default().to_owned());
    Ok(Exit::Done)
}
