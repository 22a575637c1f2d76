//! One datanet as one node knows it: the set of its statements, and queries on them.

use std::collections::BTreeMap;

use super::{
    Access, Act, AdmissionError, Charter, CharterError, Contribution, Entry, Member, ProposalStatus, Role, Statement,
    StatementError, StatementId, Version, view::View,
};
use crate::{
    BlobHash, DatanetId, NodeId, Time,
    crypto::{Domain, Signed},
    licence::{Licence, Use},
    seal::KeyEpoch,
};

/// Most statements kept from authors other than the owner. Beyond that, further ones are refused as flooding.
pub const STATEMENTS_MAX: usize = 1 << 16;

/// The reason that a charter or a statement is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    #[error("could not read the charter")]
    Charter(#[from] CharterError),
    #[error("could not read the statement")]
    Statement(#[from] StatementError),
    #[error("node {speaker:#} did not sign this")]
    NotSigned { speaker: NodeId },
    #[error("this is about datanet {found:#}, not {wanted:#}")]
    OtherDatanet { found: DatanetId, wanted: DatanetId },
    /// A grant, revocation or key rotation by another node than the owner.
    #[error("only the owner says who is a member, and node {speaker:#} is not the owner")]
    NotOwner { speaker: NodeId },
    #[error("{STATEMENTS_MAX} statements about this datanet are kept already")]
    Full,
}

/// A datanet's charter and its known statements. Each node has its own; see the module's rules on how they converge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    id: DatanetId,
    charter: Signed<Charter>,
    domain: Domain,
    statements: BTreeMap<StatementId, Statement>,
    signed: BTreeMap<StatementId, Signed<Statement>>,
    view: View,
}

impl Registry {
    /// Creates the registry from a signed charter, without statements.
    pub fn new(charter: Signed<Charter>, domain: &Domain) -> Result<Self, InsertError> {
        charter.message.check()?;
        if !charter.is_authentic(domain) {
            let speaker = charter.message.owner;
            return Err(InsertError::NotSigned { speaker });
        }
        let view = View::of(&charter.message, &BTreeMap::new());
        Ok(Self {
            id: charter.message.id(),
            charter,
            domain: *domain,
            statements: BTreeMap::new(),
            signed: BTreeMap::new(),
            view,
        })
    }

    /// Adds statements; returns true if any was new. At the first refused one it stops and returns the error; those
    /// before it are kept.
    pub fn insert(&mut self, signed: impl IntoIterator<Item = Signed<Statement>>) -> Result<bool, InsertError> {
        let before = self.statements.len();
        let result = signed.into_iter().try_for_each(|signed| self.insert_one(signed));
        let new = self.statements.len() > before;
        if new {
            self.view = View::of(&self.charter.message, &self.statements);
        }
        result.map(|()| new)
    }

    fn insert_one(&mut self, signed: Signed<Statement>) -> Result<(), InsertError> {
        let statement = &signed.message;
        let (speaker, owner) = (statement.speaker, self.charter.message.owner);
        if statement.datanet != self.id {
            return Err(InsertError::OtherDatanet {
                found: statement.datanet,
                wanted: self.id,
            });
        }
        statement.check()?;
        if statement.is_owners() && speaker != owner {
            return Err(InsertError::NotOwner { speaker });
        }
        let id = statement.id();
        if self.statements.contains_key(&id) {
            return Ok(());
        }
        if speaker != owner && self.statements.len() >= STATEMENTS_MAX {
            return Err(InsertError::Full);
        }
        if !signed.is_authentic(&self.domain) {
            return Err(InsertError::NotSigned { speaker });
        }
        self.statements.insert(id, statement.clone());
        self.signed.insert(id, signed);
        Ok(())
    }

    /// Returns the datanet's id.
    pub const fn id(&self) -> DatanetId {
        self.id
    }

    /// Returns the signed charter.
    pub const fn charter(&self) -> &Signed<Charter> {
        &self.charter
    }

    /// Returns all statements with their signatures, to pass them on.
    pub fn statements(&self) -> impl Iterator<Item = (&StatementId, &Signed<Statement>)> {
        self.signed.iter()
    }

    /// Returns one statement.
    pub fn statement(&self, id: &StatementId) -> Option<&Signed<Statement>> {
        self.signed.get(id)
    }

    /// Returns an unsigned statement by `speaker`, numbered and chained after its latest one.
    pub fn next(&self, speaker: NodeId, at: Time, act: Act) -> Statement {
        let mine = self
            .statements
            .iter()
            .filter(|(_, statement)| statement.speaker == speaker);
        let latest = mine.max_by_key(|(id, statement)| (statement.number, **id));
        Statement {
            datanet: self.id,
            speaker,
            number: latest.map_or(1, |(_, statement)| statement.number + 1),
            previous: latest.map(|(id, _)| *id),
            at,
            act,
        }
    }

    /// Returns the owner's revocation of `subject`. It starts a key epoch if `subject` could read, and keeps the
    /// statements that it made as a curator so far.
    pub fn revocation(&self, subject: NodeId) -> Act {
        let theirs = self
            .statements
            .iter()
            .filter(|(_, statement)| statement.speaker == subject);
        let last_valid = theirs
            .max_by_key(|(id, statement)| (statement.number, **id))
            .map(|(id, _)| *id);
        let read = self
            .view
            .members
            .get(&subject)
            .is_some_and(|member| member.founding || member.ever(Role::Reader) || member.ever(Role::Curator));
        let epoch = if read { self.view.epoch.next() } else { self.view.epoch };
        Act::Revoke {
            subject,
            epoch,
            last_valid,
        }
    }

    fn has(&self, node: &NodeId, role: Role, now: Time) -> bool {
        let member = self.view.members.get(node);
        *node == self.charter.message.owner || member.is_some_and(|member| member.has(role, now))
    }

    /// Returns true if published shards may be served to `node`.
    pub fn may_read(&self, node: &NodeId, now: Time) -> bool {
        match self.charter.message.access {
            Access::Public => true,
            Access::Permissioned => self.has(node, Role::Reader, now),
        }
    }

    /// Returns true if `node` may propose a contribution.
    pub fn may_contribute(&self, node: &NodeId, now: Time) -> bool {
        match self.charter.message.contribution {
            Contribution::Open | Contribution::Curated => true,
            Contribution::Members => self.has(node, Role::Contributor, now),
        }
    }

    /// Returns true if `node` may decide about contributions and publish versions.
    pub fn may_approve(&self, node: &NodeId, now: Time) -> bool {
        self.has(node, Role::Curator, now)
    }

    /// Returns the key epoch for sealing new shards.
    pub const fn epoch(&self) -> KeyEpoch {
        self.view.epoch
    }

    /// Returns the members for whom keys are wrapped at `now`.
    pub fn readers(&self, now: Time) -> Vec<Member> {
        let members = self.view.members.iter();
        let member = |(node, grant): (&NodeId, &super::Grant)| Member {
            node: *node,
            key: grant.key,
            epoch: grant.epoch,
            until: grant.until,
        };
        members
            .filter_map(|(node, member)| Some((node, member.reader(now)?)))
            .map(member)
            .collect()
    }

    /// Returns the member record for wrapping the key of `epoch` for `node`, or `None` if `node` may not have that
    /// key.
    pub fn may_hold(&self, node: &NodeId, epoch: KeyEpoch, now: Time) -> Option<Member> {
        let member = self.readers(now).into_iter().find(|member| member.node == *node)?;
        (member.epoch <= epoch && epoch <= self.view.epoch).then_some(member)
    }

    /// Returns every dataset that is published in some version and neither tombstoned nor withdrawn: those that may be
    /// served.
    pub const fn published(&self) -> &BTreeMap<BlobHash, Entry> {
        &self.view.published
    }

    /// Returns the current version, with the statement that published it.
    pub fn head(&self) -> Option<(StatementId, &Version)> {
        let id = self.view.head?;
        match &self.statements.get(&id)?.act {
            Act::Publish(version) => Some((id, version)),
            _ => None,
        }
    }

    /// Returns true if the dataset has a tombstone.
    pub fn is_buried(&self, root: &BlobHash) -> bool {
        self.view.buried.contains(root)
    }

    /// Returns the status of a proposal.
    pub fn status(&self, proposal: &StatementId) -> Option<ProposalStatus> {
        self.view.proposals.get(proposal).copied()
    }

    /// Returns every proposal with its status.
    pub const fn proposals(&self) -> &BTreeMap<StatementId, ProposalStatus> {
        &self.view.proposals
    }

    /// Checks that a job of `requester` may use these datasets, each with the licence in its manifest, for all of
    /// `uses`.
    pub fn admit(
        &self,
        requester: &NodeId,
        now: Time,
        datasets: &[(BlobHash, Licence)],
        uses: &[Use],
    ) -> Result<(), AdmissionError> {
        if !self.may_read(requester, now) {
            return Err(AdmissionError::NotMember);
        }
        for wanted in uses {
            self.charter
                .message
                .licence
                .permits(*wanted)
                .map_err(AdmissionError::Datanet)?;
        }
        for (root, licence) in datasets {
            if !self.view.published.contains_key(root) {
                return Err(AdmissionError::NotPublished { root: *root });
            }
            for wanted in uses {
                licence
                    .permits(*wanted)
                    .map_err(|refusal| AdmissionError::Dataset { root: *root, refusal })?;
            }
        }
        Ok(())
    }
}
