//! One datanet as one node knows it: the statements it heard, and the questions they answer.

use std::collections::BTreeMap;

use super::{
    Access, Act, Admission, Charter, CharterError, Contribution, Entry, Member, Role, Standing, Statement,
    StatementError, StatementId, Version, view::View,
};
use crate::{
    BlobHash, DatanetId, NodeId, Time,
    crypto::{Domain, Signed},
    licence::{Licence, Use},
    seal::KeyEpoch,
};

/// Most statements that are kept of all who are not the owner. Whoever reaches it is flooding.
pub const STATEMENTS_MAX: usize = 1 << 16;

/// Why a statement is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LearnError {
    /// The founding terms are no good.
    #[error("could not read the charter")]
    Charter(#[from] CharterError),
    /// It is no good by itself.
    #[error("could not read the statement")]
    Statement(#[from] StatementError),
    /// Somebody else signed it, or nobody.
    #[error("node {speaker:#} did not sign this")]
    NotSigned {
        /// Whose word it claims to be.
        speaker: NodeId,
    },
    /// It is about another datanet.
    #[error("this is about datanet {found:#}, not {wanted:#}")]
    Elsewhere {
        /// Which it is about.
        found: DatanetId,
        /// Which this is.
        wanted: DatanetId,
    },
    /// Membership is the owner's alone.
    #[error("only the owner says who is a member, and node {speaker:#} is not the owner")]
    NotOwner {
        /// Who said it.
        speaker: NodeId,
    },
    /// Too many already.
    #[error("{STATEMENTS_MAX} statements about this datanet are kept already")]
    Full,
}

/// A datanet and all that was said in it.
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
    /// A datanet of which nothing but its founding is known.
    pub fn new(charter: Signed<Charter>, domain: &Domain) -> Result<Self, LearnError> {
        charter.message.check()?;
        if !charter.is_authentic(domain) {
            let speaker = charter.message.owner;
            return Err(LearnError::NotSigned { speaker });
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

    /// Takes what was said. Says whether anything of it was new. What is refused changes nothing, and what came before it
    /// in the list is kept.
    pub fn learn(&mut self, said: impl IntoIterator<Item = Signed<Statement>>) -> Result<bool, LearnError> {
        let before = self.statements.len();
        let result = said.into_iter().try_for_each(|said| self.take(said));
        let new = self.statements.len() > before;
        if new {
            self.view = View::of(&self.charter.message, &self.statements);
        }
        result.map(|()| new)
    }

    fn take(&mut self, said: Signed<Statement>) -> Result<(), LearnError> {
        let statement = &said.message;
        let (speaker, owner) = (statement.speaker, self.charter.message.owner);
        if statement.datanet != self.id {
            return Err(LearnError::Elsewhere {
                found: statement.datanet,
                wanted: self.id,
            });
        }
        statement.check()?;
        if statement.is_owners() && speaker != owner {
            return Err(LearnError::NotOwner { speaker });
        }
        let id = statement.id();
        if self.statements.contains_key(&id) {
            return Ok(());
        }
        if speaker != owner && self.statements.len() >= STATEMENTS_MAX {
            return Err(LearnError::Full);
        }
        if !said.is_authentic(&self.domain) {
            return Err(LearnError::NotSigned { speaker });
        }
        self.statements.insert(id, statement.clone());
        self.signed.insert(id, said);
        Ok(())
    }

    /// Which datanet.
    pub const fn id(&self) -> DatanetId {
        self.id
    }

    /// Its founding terms, signed.
    pub const fn charter(&self) -> &Signed<Charter> {
        &self.charter
    }

    /// Everything that was said, to hand on.
    pub fn statements(&self) -> impl Iterator<Item = (&StatementId, &Signed<Statement>)> {
        self.signed.iter()
    }

    /// One statement.
    pub fn statement(&self, id: &StatementId) -> Option<&Signed<Statement>> {
        self.signed.get(id)
    }

    /// What `speaker` says next: numbered and chained behind its latest, ready to sign.
    pub fn next(&self, speaker: NodeId, at: Time, act: Act) -> Statement {
        let mine = self.statements.iter().filter(|(_, said)| said.speaker == speaker);
        let latest = mine.max_by_key(|(id, said)| (said.number, **id));
        Statement {
            datanet: self.id,
            speaker,
            number: latest.map_or(1, |(_, said)| said.number + 1),
            previous: latest.map(|(id, _)| *id),
            at,
            act,
        }
    }

    /// How the owner takes `subject` out: beginning a key epoch if it could read, and keeping what it said as a curator
    /// until now.
    pub fn revocation(&self, subject: NodeId) -> Act {
        let said = self.statements.iter().filter(|(_, said)| said.speaker == subject);
        let stands = said.max_by_key(|(id, said)| (said.number, **id)).map(|(id, _)| *id);
        let read = self
            .view
            .seats
            .get(&subject)
            .is_some_and(|seat| seat.founding || seat.ever(Role::Reader) || seat.ever(Role::Curator));
        let epoch = if read { self.view.epoch.next() } else { self.view.epoch };
        Act::Revoke { subject, epoch, stands }
    }

    fn has(&self, node: &NodeId, role: Role, now: Time) -> bool {
        let seat = self.view.seats.get(node);
        *node == self.charter.message.owner || seat.is_some_and(|seat| seat.has(role, now))
    }

    /// Whether `node` may be served what is published.
    pub fn may_read(&self, node: &NodeId, now: Time) -> bool {
        match self.charter.message.access {
            Access::Public => true,
            Access::Permissioned => self.has(node, Role::Reader, now),
        }
    }

    /// Whether `node` may propose a contribution.
    pub fn may_contribute(&self, node: &NodeId, now: Time) -> bool {
        match self.charter.message.contribution {
            Contribution::Open | Contribution::Curated => true,
            Contribution::Members => self.has(node, Role::Contributor, now),
        }
    }

    /// Whether `node` may decide about contributions and publish versions.
    pub fn may_approve(&self, node: &NodeId, now: Time) -> bool {
        self.has(node, Role::Curator, now)
    }

    /// The key under which new shards are sealed.
    pub const fn epoch(&self) -> KeyEpoch {
        self.view.epoch
    }

    /// Everybody for whom keys are boxed at `now`.
    pub fn readers(&self, now: Time) -> Vec<Member> {
        let seats = self.view.seats.iter();
        let member = |(node, grant): (&NodeId, &super::Grant)| Member {
            node: *node,
            key: grant.key,
            epoch: grant.epoch,
            until: grant.until,
        };
        seats
            .filter_map(|(node, seat)| Some((node, seat.reader(now)?)))
            .map(member)
            .collect()
    }

    /// Whether `node` may be given the key of `epoch`, and the key it is boxed for.
    pub fn may_hold(&self, node: &NodeId, epoch: KeyEpoch, now: Time) -> Option<Member> {
        let member = self.readers(now).into_iter().find(|member| member.node == *node)?;
        (member.epoch <= epoch && epoch <= self.view.epoch).then_some(member)
    }

    /// Everything that is published, in any version, and was not buried or withdrawn: what may be served.
    pub const fn published(&self) -> &BTreeMap<BlobHash, Entry> {
        &self.view.published
    }

    /// The version that counts, with the statement that published it.
    pub fn head(&self) -> Option<(StatementId, &Version)> {
        let id = self.view.head?;
        match &self.statements.get(&id)?.act {
            Act::Publish(version) => Some((id, version)),
            _ => None,
        }
    }

    /// Whether a dataset was buried.
    pub fn is_buried(&self, root: &BlobHash) -> bool {
        self.view.buried.contains(root)
    }

    /// What became of a proposal.
    pub fn standing(&self, proposal: &StatementId) -> Option<Standing> {
        self.view.proposals.get(proposal).copied()
    }

    /// Every proposal and what became of it.
    pub const fn proposals(&self) -> &BTreeMap<StatementId, Standing> {
        &self.view.proposals
    }

    /// Whether a job of `requester` may use these datasets, each with the terms in its manifest, for all of `uses`.
    pub fn admit(
        &self,
        requester: &NodeId,
        now: Time,
        datasets: &[(BlobHash, Licence)],
        uses: &[Use],
    ) -> Result<(), Admission> {
        if !self.may_read(requester, now) {
            return Err(Admission::NotMember);
        }
        for wanted in uses {
            self.charter
                .message
                .licence
                .permits(*wanted)
                .map_err(Admission::Datanet)?;
        }
        for (root, licence) in datasets {
            if !self.view.published.contains_key(root) {
                return Err(Admission::NotPublished { root: *root });
            }
            for wanted in uses {
                licence
                    .permits(*wanted)
                    .map_err(|refusal| Admission::Dataset { root: *root, refusal })?;
            }
        }
        Ok(())
    }
}
