//! What a set of statements comes to. Every function here reads the whole set, so no order can show.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Access, Act, Charter, Contribution, Entry, Role, Standing, Statement, StatementId, admit_contribution,
    membership::Seat,
};
use crate::{BlobHash, NodeId, seal::KeyEpoch};

pub(super) type Statements = BTreeMap<StatementId, Statement>;
type Editors<'a> = BTreeMap<StatementId, &'a Statement>;
type Words = BTreeSet<StatementId>;
/// Which version counts: the highest number, then the owner's, then the name, which nobody chooses.
type Rank = (u64, bool, StatementId);

/// The answers, worked out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) epoch: KeyEpoch,
    pub(super) seats: BTreeMap<NodeId, Seat>,
    pub(super) proposals: BTreeMap<StatementId, Standing>,
    pub(super) published: BTreeMap<BlobHash, Entry>,
    pub(super) buried: BTreeSet<BlobHash>,
    pub(super) head: Option<StatementId>,
}

impl View {
    pub(super) fn of(charter: &Charter, statements: &Statements) -> Self {
        let mut view = Self::default();
        let cuts = view.seat(charter, statements);
        let words = words(statements, &cuts);
        let editors = view.editors(charter, statements, &words);
        view.proposals = standings(charter, statements, &editors);
        view.buried = editors.values().filter_map(|statement| buried(statement)).collect();
        view.publish(charter, statements, &editors, &words);
        view
    }

    /// Seats everybody the owner's word seats; gives, for each dismissed node, the last of its statements that stands.
    fn seat(&mut self, charter: &Charter, statements: &Statements) -> BTreeMap<NodeId, Option<StatementId>> {
        for curator in &charter.curators {
            self.seats.entry(*curator).or_default().founding = true;
        }
        let mut cuts: BTreeMap<NodeId, (u64, Option<StatementId>)> = BTreeMap::new();
        for statement in statements.values().filter(|statement| statement.by_owner(charter)) {
            match &statement.act {
                Act::Grant(grant) => {
                    let seat = self.seats.entry(grant.subject).or_default();
                    seat.grant(statement.number, *grant);
                }
                Act::Revoke { subject, epoch, stands } => {
                    self.seats.entry(*subject).or_default().revoke(statement.number);
                    self.epoch = self.epoch.max(*epoch);
                    let cut = (statement.number, *stands);
                    let known = cuts.entry(*subject).or_insert(cut);
                    *known = cut.max(*known);
                }
                Act::Rotate(epoch) => self.epoch = self.epoch.max(*epoch),
                Act::Publish(_) | Act::Bury { .. } | Act::Propose { .. } | Act::Decide { .. } => (),
                Act::Withdraw(_) | Act::Appeal { .. } => (),
            }
        }
        cuts.into_iter().map(|(node, (_, stands))| (node, stands)).collect()
    }

    /// The statements that were made with an editor's authority: the owner's, a curator's, and a former curator's that stand.
    fn editors<'a>(&self, charter: &Charter, statements: &'a Statements, words: &Words) -> Editors<'a> {
        let once = |seat: &Seat| seat.founding || seat.ever(Role::Curator);
        let by_editor = |id: &StatementId, said: &Statement| {
            let seat = self.seats.get(&said.speaker);
            said.by_owner(charter) || seat.is_some_and(|seat| seat.curates() || (once(seat) && words.contains(id)))
        };
        statements
            .iter()
            .filter(|(id, said)| by_editor(id, said))
            .map(|(id, said)| (*id, said))
            .collect()
    }

    fn publish(&mut self, charter: &Charter, statements: &Statements, editors: &Editors<'_>, words: &Words) {
        let mut versions: Vec<_> = editors
            .iter()
            .filter_map(|(id, said)| version(*id, said, charter))
            .collect();
        versions.sort_by_key(|(rank, _)| *rank);
        self.head = versions.last().map(|((_, _, id), _)| *id);
        for entry in versions.iter().flat_map(|(_, entries)| *entries) {
            // What belongs behind a seal is never served without one.
            let sealed = entry.epoch.is_some_and(|epoch| epoch <= self.epoch);
            let placed = match charter.access {
                Access::Public => entry.epoch.is_none(),
                Access::Permissioned => sealed,
            };
            if placed && !self.buried.contains(&entry.root) && self.is_backed(charter, statements, entry, words) {
                // Of several entries of one dataset the first version's is the one that is paid.
                self.published.entry(entry.root).or_insert(*entry);
            }
        }
    }

    /// Whether an entry may be in a version: put in by those who may, or by a proposal that counts.
    fn is_backed(&self, charter: &Charter, statements: &Statements, entry: &Entry, words: &Words) -> bool {
        let seat = self.seats.get(&entry.contributor);
        let Some(proposal) = entry.proposal else {
            let once = |seat: &Seat| seat.founding || seat.ever(Role::Curator);
            return entry.contributor == charter.owner || seat.is_some_and(once);
        };
        let Some(said) = statements.get(&proposal) else {
            return false;
        };
        let same = matches!(said.act, Act::Propose { root, .. } if root == entry.root);
        let standing = self.proposals.get(&proposal);
        let undeclined = matches!(standing, Some(Standing::Approved | Standing::Proposed));
        let counts = match charter.contribution {
            Contribution::Curated => standing == Some(&Standing::Approved),
            Contribution::Open => undeclined,
            Contribution::Members => {
                let member = |seat: &Seat| seat.contributes() || (seat.contributed() && words.contains(&proposal));
                undeclined && (said.by_owner(charter) || seat.is_some_and(member))
            }
        };
        same && said.speaker == entry.contributor && counts
    }
}

/// The statements of those who were taken out that stand all the same: the one that their revocation names, and all that
/// it follows.
fn words(statements: &Statements, cuts: &BTreeMap<NodeId, Option<StatementId>>) -> Words {
    let mut words = Words::new();
    for (node, stands) in cuts {
        let mut next = *stands;
        // A chain ends where it names what somebody else said, and where it was walked already.
        while let Some(id) = next
            && let Some(said) = statements.get(&id).filter(|said| said.speaker == *node)
            && words.insert(id)
        {
            next = said.previous;
        }
    }
    words
}

/// A version's entries under its rank.
fn version<'a>(id: StatementId, said: &'a Statement, charter: &Charter) -> Option<(Rank, &'a [Entry])> {
    match &said.act {
        Act::Publish(version) => Some(((version.number, said.by_owner(charter), id), &version.entries)),
        _ => None,
    }
}

fn buried(said: &Statement) -> Option<BlobHash> {
    match said.act {
        Act::Bury { root, .. } => Some(root),
        _ => None,
    }
}

/// What became of each proposal.
fn standings(charter: &Charter, statements: &Statements, editors: &Editors<'_>) -> BTreeMap<StatementId, Standing> {
    // For each proposal, what each editor said last; under one number, "declined" is later than "approved".
    let mut decisions: BTreeMap<StatementId, BTreeMap<NodeId, (u64, bool)>> = BTreeMap::new();
    for said in editors.values() {
        if let Act::Decide { proposal, approve, .. } = &said.act {
            let of = decisions.entry(*proposal).or_default();
            let last = of.entry(said.speaker).or_insert((said.number, !approve));
            *last = (*last).max((said.number, !approve));
        }
    }
    let (mut withdrawn, mut appealed) = (BTreeSet::new(), BTreeSet::new());
    for said in statements.values() {
        match said.act {
            Act::Withdraw(proposal) => drop(withdrawn.insert((said.speaker, proposal))),
            Act::Appeal { proposal, .. } => drop(appealed.insert((said.speaker, proposal))),
            _ => (),
        }
    }
    let standing = |id: &StatementId, said: &Statement| {
        let Act::Propose { licence, .. } = &said.act else {
            return None;
        };
        if withdrawn.contains(&(said.speaker, *id)) {
            return Some(Standing::Withdrawn);
        }
        if admit_contribution(&charter.licence, licence).is_err() {
            return Some(Standing::Unlicensed);
        }
        let declined = Standing::Declined {
            appealed: appealed.contains(&(said.speaker, *id)),
        };
        let Some(of) = decisions.get(id) else {
            return Some(Standing::Proposed);
        };
        let no = match of.get(&charter.owner) {
            Some((_, no)) => *no,
            None => of.values().any(|(_, no)| *no),
        };
        Some(if no { declined } else { Standing::Approved })
    };
    statements
        .iter()
        .filter_map(|(id, said)| Some((*id, standing(id, said)?)))
        .collect()
}
