//! A datanet as people are shown it.

use protocol::{
    BlobHash, DatanetId, NodeId, Time,
    datanet::{Act, Standing},
};
use serde::{Deserialize, Serialize};

use super::Room;

/// A datanet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatanetAnswer {
    /// Its name among peers.
    pub id: DatanetId,
    /// What people call it.
    pub name: String,
    /// Who speaks for it.
    pub owner: NodeId,
    /// `public` or `permissioned`.
    pub access: String,
    /// Who may add: `open`, `curated` or `members`.
    pub contribution: String,
    /// What everything in it may be used for.
    pub licence: String,
    /// The key under which new shards are sealed.
    pub epoch: u32,
    /// Whether that key is here.
    pub has_key: bool,
    /// What this node may do: of `reads`, `contributes`, `approves` and `owns`.
    pub may: Vec<String>,
    /// The version that counts.
    pub version: Option<VersionLine>,
    /// What is published, in any version.
    pub published: Vec<BlobHash>,
    /// What was proposed.
    pub proposals: Vec<ProposalLine>,
    /// Statements that are known here.
    pub statements: u64,
}

/// A version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionLine {
    /// Counted from 1.
    pub number: u64,
    /// Datasets in it.
    pub datasets: u64,
}

/// A proposal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProposalLine {
    /// Its name.
    pub proposal: BlobHash,
    /// The dataset.
    pub root: BlobHash,
    /// Who proposed it.
    pub contributor: NodeId,
    /// Its terms.
    pub licence: String,
    /// `proposed`, `approved`, `declined`, `appealed`, `withdrawn` or `unlicensed`.
    pub standing: String,
}

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberLine {
    /// Who.
    pub node: NodeId,
    /// The first key that is theirs.
    pub epoch: u32,
    /// When it ends, in milliseconds since 1970.
    pub until_ms: u64,
    /// Whether it decides about proposals.
    pub approves: bool,
}

impl DatanetAnswer {
    /// A datanet as `me` sees it.
    pub(crate) fn of(room: &Room, me: NodeId, now: Time) -> Self {
        let (registry, charter) = (room.registry(), &room.charter);
        let may = [
            ("reads", registry.may_read(&me, now)),
            ("contributes", registry.may_contribute(&me, now)),
            ("approves", registry.may_approve(&me, now)),
            ("owns", charter.owner == me),
        ];
        Self {
            id: room.id,
            name: charter.name.clone(),
            owner: charter.owner,
            access: format!("{:?}", charter.access).to_lowercase(),
            contribution: format!("{:?}", charter.contribution).to_lowercase(),
            licence: charter.licence.to_string(),
            epoch: registry.epoch().0,
            has_key: !room.is_permissioned() || room.epoch_key(registry.epoch()).is_some(),
            may: may
                .into_iter()
                .filter(|(_, may)| *may)
                .map(|(what, _)| what.to_owned())
                .collect(),
            version: registry.head().map(|(_, version)| VersionLine {
                number: version.number,
                datasets: version.entries.len() as u64,
            }),
            published: registry.published().keys().copied().collect(),
            statements: registry.statements().count() as u64,
            proposals: {
                drop(registry);
                proposals(room)
            },
        }
    }
}

/// What was proposed, and what became of it.
pub(super) fn proposals(room: &Room) -> Vec<ProposalLine> {
    let registry = room.registry();
    let line = |(id, standing): (&protocol::datanet::StatementId, &Standing)| {
        let said = &registry.statement(id)?.message;
        let Act::Propose { root, licence, .. } = &said.act else {
            return None;
        };
        let standing = match standing {
            Standing::Proposed => "proposed",
            Standing::Approved => "approved",
            Standing::Declined { appealed: false } => "declined",
            Standing::Declined { appealed: true } => "appealed",
            Standing::Withdrawn => "withdrawn",
            Standing::Unlicensed => "unlicensed",
        };
        Some(ProposalLine {
            proposal: BlobHash(id.0),
            root: *root,
            contributor: said.speaker,
            licence: licence.to_string(),
            standing: standing.to_owned(),
        })
    };
    registry.proposals().iter().filter_map(line).collect()
}

/// Everybody who reads.
pub(super) fn members(room: &Room, now: Time) -> Vec<MemberLine> {
    let registry = room.registry();
    let line = |member: protocol::datanet::Member| MemberLine {
        node: member.node,
        epoch: member.epoch.0,
        until_ms: member.until.0 / 1000,
        approves: registry.may_approve(&member.node, now),
    };
    registry.readers(now).into_iter().map(line).collect()
}
