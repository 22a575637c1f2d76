//! Descriptions of datanets for the operator's API.

use protocol::{
    BlobHash, NodeId, Time,
    datanet::{Act, ProposalStatus},
};

use super::LocalDatanet;
use base::operator::datanet::{DatanetResponse, MemberLine, ProposalLine, VersionLine};

/// Describes a datanet, with the rights that `me` has in it.
pub(super) fn answer(local: &LocalDatanet, me: NodeId, now: Time) -> DatanetResponse {
    let (registry, charter) = (local.registry(), &local.charter);
    let may = [
        ("reads", registry.may_read(&me, now)),
        ("contributes", registry.may_contribute(&me, now)),
        ("approves", registry.may_approve(&me, now)),
        ("owns", charter.owner == me),
    ];
    DatanetResponse {
        id: local.id,
        name: charter.name.clone(),
        owner: charter.owner,
        access: format!("{:?}", charter.access).to_lowercase(),
        contribution: format!("{:?}", charter.contribution).to_lowercase(),
        licence: charter.licence.to_string(),
        epoch: registry.epoch().0,
        has_key: !local.is_permissioned() || local.epoch_key(registry.epoch()).is_some(),
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
            proposals(local)
        },
    }
}

/// Lists the proposals with their status.
pub(super) fn proposals(local: &LocalDatanet) -> Vec<ProposalLine> {
    let registry = local.registry();
    let line = |(id, standing): (&protocol::datanet::StatementId, &ProposalStatus)| {
        let said = &registry.statement(id)?.message;
        let Act::Propose { root, licence, .. } = &said.act else {
            return None;
        };
        let standing = match standing {
            ProposalStatus::Proposed => "proposed",
            ProposalStatus::Approved => "approved",
            ProposalStatus::Declined { appealed: false } => "declined",
            ProposalStatus::Declined { appealed: true } => "appealed",
            ProposalStatus::Withdrawn => "withdrawn",
            ProposalStatus::Unlicensed => "unlicensed",
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

/// Lists the members.
pub(super) fn members(local: &LocalDatanet, now: Time) -> Vec<MemberLine> {
    let registry = local.registry();
    let line = |member: protocol::datanet::Member| MemberLine {
        node: member.node,
        epoch: member.epoch.0,
        until_ms: member.until.0 / 1000,
        approves: registry.may_approve(&member.node, now),
    };
    registry.readers(now).into_iter().map(line).collect()
}
