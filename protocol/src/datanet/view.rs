//! The state that follows from a set of statements. Every function reads the whole set, so the order of arrival has no
//! effect.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Access, Act, Charter, Contribution, Entry, ProposalStatus, Role, Statement, StatementId, admit_contribution,
    membership::MemberRecord,
};
use crate::{BlobHash, NodeId, seal::KeyEpoch};

pub(super) type Statements = BTreeMap<StatementId, Statement>;
type Editors<'a> = BTreeMap<StatementId, &'a Statement>;
type Upheld = BTreeSet<StatementId>;
/// Order of versions: the highest number, then the owner's, then the statement id, which nobody can choose.
type Rank = (u64, bool, StatementId);

/// The computed state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) epoch: KeyEpoch,
    pub(super) members: BTreeMap<NodeId, MemberRecord>,
    pub(super) proposals: BTreeMap<StatementId, ProposalStatus>,
    pub(super) published: BTreeMap<BlobHash, Entry>,
    pub(super) buried: BTreeSet<BlobHash>,
    pub(super) head: Option<StatementId>,
}

impl View {
    pub(super) fn of(charter: &Charter, statements: &Statements) -> Self {
        let mut view = Self::default();
        let revocations = view.member(charter, statements);
        let upheld = upheld(statements, &revocations);
        let editors = view.editors(charter, statements, &upheld);
        view.proposals = statuses(charter, statements, &editors);
        view.buried = editors.values().filter_map(|statement| buried(statement)).collect();
        view.publish(charter, statements, &editors, &upheld);
        view
    }

    /// Applies grants and revocations. Returns, for each removed node, its last valid statement.
    fn member(&mut self, charter: &Charter, statements: &Statements) -> BTreeMap<NodeId, Option<StatementId>> {
        for curator in &charter.curators {
            self.members.entry(*curator).or_default().founding = true;
        }
        let mut revocations: BTreeMap<NodeId, (u64, Option<StatementId>)> = BTreeMap::new();
        for statement in statements.values().filter(|statement| statement.by_owner(charter)) {
            match &statement.act {
                Act::Grant(grant) => {
                    let member = self.members.entry(grant.subject).or_default();
                    member.grant(statement.number, *grant);
                }
                Act::Revoke {
                    subject,
                    epoch,
                    last_valid,
                } => {
                    self.members.entry(*subject).or_default().revoke(statement.number);
                    self.epoch = self.epoch.max(*epoch);
                    let revocation = (statement.number, *last_valid);
                    let known = revocations.entry(*subject).or_insert(revocation);
                    *known = revocation.max(*known);
                }
                Act::Rotate(epoch) => self.epoch = self.epoch.max(*epoch),
                Act::Publish(_) | Act::Bury { .. } | Act::Propose { .. } | Act::Decide { .. } => (),
                Act::Withdraw(_) | Act::Appeal { .. } => (),
            }
        }
        revocations
            .into_iter()
            .map(|(node, (_, last_valid))| (node, last_valid))
            .collect()
    }

    /// Returns the statements made with editor rights: by the owner, by a curator, or by a former curator and still
    /// valid.
    fn editors<'a>(&self, charter: &Charter, statements: &'a Statements, upheld: &Upheld) -> Editors<'a> {
        let once = |member: &MemberRecord| member.founding || member.ever(Role::Curator);
        let by_editor = |id: &StatementId, statement: &Statement| {
            let member = self.members.get(&statement.speaker);
            statement.by_owner(charter)
                || member.is_some_and(|member| member.curates() || (once(member) && upheld.contains(id)))
        };
        statements
            .iter()
            .filter(|(id, statement)| by_editor(id, statement))
            .map(|(id, statement)| (*id, statement))
            .collect()
    }

    fn publish(&mut self, charter: &Charter, statements: &Statements, editors: &Editors<'_>, upheld: &Upheld) {
        let mut versions: Vec<_> = editors
            .iter()
            .filter_map(|(id, statement)| version(*id, statement, charter))
            .collect();
        versions.sort_by_key(|(rank, _)| *rank);
        self.head = versions.last().map(|((_, _, id), _)| *id);
        for entry in versions.iter().flat_map(|(_, entries)| *entries) {
            // Never serve a dataset of a permissioned datanet unsealed.
            let sealed = entry.epoch.is_some_and(|epoch| epoch <= self.epoch);
            let placed = match charter.access {
                Access::Public => entry.epoch.is_none(),
                Access::Permissioned => sealed,
            };
            if placed && !self.buried.contains(&entry.root) && self.is_backed(charter, statements, entry, upheld) {
                // If a dataset has several entries, the first version's is the one that is paid.
                self.published.entry(entry.root).or_insert(*entry);
            }
        }
    }

    /// Returns true if an entry may be in a version: added by an editor, or backed by an effective proposal.
    fn is_backed(&self, charter: &Charter, statements: &Statements, entry: &Entry, upheld: &Upheld) -> bool {
        let member = self.members.get(&entry.contributor);
        let Some(proposal) = entry.proposal else {
            let once = |member: &MemberRecord| member.founding || member.ever(Role::Curator);
            return entry.contributor == charter.owner || member.is_some_and(once);
        };
        let Some(statement) = statements.get(&proposal) else {
            return false;
        };
        let same = matches!(statement.act, Act::Propose { root, .. } if root == entry.root);
        let status = self.proposals.get(&proposal);
        let undeclined = matches!(status, Some(ProposalStatus::Approved | ProposalStatus::Proposed));
        let counts = match charter.contribution {
            Contribution::Curated => status == Some(&ProposalStatus::Approved),
            Contribution::Open => undeclined,
            Contribution::Members => {
                let eligible = |member: &MemberRecord| {
                    member.contributes() || (member.contributed() && upheld.contains(&proposal))
                };
                undeclined && (statement.by_owner(charter) || member.is_some_and(eligible))
            }
        };
        same && statement.speaker == entry.contributor && counts
    }
}

/// Returns the statements of removed nodes that stay valid: the one that the revocation names, and its predecessors.
fn upheld(statements: &Statements, revocations: &BTreeMap<NodeId, Option<StatementId>>) -> Upheld {
    let mut upheld = Upheld::new();
    for (node, last_valid) in revocations {
        let mut next = *last_valid;
        // A chain ends where it names another author's statement, and where it was walked already.
        while let Some(id) = next
            && let Some(statement) = statements.get(&id).filter(|statement| statement.speaker == *node)
            && upheld.insert(id)
        {
            next = statement.previous;
        }
    }
    upheld
}

/// Returns a version's entries with its rank.
fn version<'a>(id: StatementId, statement: &'a Statement, charter: &Charter) -> Option<(Rank, &'a [Entry])> {
    match &statement.act {
        Act::Publish(version) => Some(((version.number, statement.by_owner(charter), id), &version.entries)),
        _ => None,
    }
}

fn buried(statement: &Statement) -> Option<BlobHash> {
    match statement.act {
        Act::Bury { root, .. } => Some(root),
        _ => None,
    }
}

/// Returns the status of each proposal.
fn statuses(
    charter: &Charter,
    statements: &Statements,
    editors: &Editors<'_>,
) -> BTreeMap<StatementId, ProposalStatus> {
    // Each editor's latest decision per proposal. Under one number, "declined" counts as later than "approved".
    let mut decisions: BTreeMap<StatementId, BTreeMap<NodeId, (u64, bool)>> = BTreeMap::new();
    for statement in editors.values() {
        if let Act::Decide { proposal, approve, .. } = &statement.act {
            let of = decisions.entry(*proposal).or_default();
            let last = of.entry(statement.speaker).or_insert((statement.number, !approve));
            *last = (*last).max((statement.number, !approve));
        }
    }
    let (mut withdrawn, mut appealed) = (BTreeSet::new(), BTreeSet::new());
    for statement in statements.values() {
        match statement.act {
            Act::Withdraw(proposal) => drop(withdrawn.insert((statement.speaker, proposal))),
            Act::Appeal { proposal, .. } => drop(appealed.insert((statement.speaker, proposal))),
            _ => (),
        }
    }
    let status = |id: &StatementId, statement: &Statement| {
        let Act::Propose { licence, .. } = &statement.act else {
            return None;
        };
        if withdrawn.contains(&(statement.speaker, *id)) {
            return Some(ProposalStatus::Withdrawn);
        }
        if admit_contribution(&charter.licence, licence).is_err() {
            return Some(ProposalStatus::Unlicensed);
        }
        let declined = ProposalStatus::Declined {
            appealed: appealed.contains(&(statement.speaker, *id)),
        };
        let Some(of) = decisions.get(id) else {
            return Some(ProposalStatus::Proposed);
        };
        let no = match of.get(&charter.owner) {
            Some((_, no)) => *no,
            None => of.values().any(|(_, no)| *no),
        };
        Some(if no { declined } else { ProposalStatus::Approved })
    };
    statements
        .iter()
        .filter_map(|(id, statement)| Some((*id, status(id, statement)?)))
        .collect()
}
