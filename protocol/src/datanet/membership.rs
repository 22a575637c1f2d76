//! Who is in a datanet, as what, until when.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::{
    NodeId, Time,
    seal::{KeyEpoch, MemberKey},
};

/// What a member may do. A curator may do all of it; a contributor reads only with a reader's grant beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Role {
    /// Fetch and open shards.
    Reader,
    /// Propose contributions where only members may.
    Contributor,
    /// Approve, decline, publish and bury; and read.
    Curator,
}

/// What an owner gives one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// Whom.
    pub subject: NodeId,
    /// The subject's X25519 key, for which the datanet's keys are boxed.
    pub key: MemberKey,
    /// As what.
    pub role: Role,
    /// Until when; from that moment on it is nothing.
    pub until: Time,
    /// The first key epoch that the subject is given keys of. What was sealed before stays closed to it.
    pub epoch: KeyEpoch,
}

/// A member as a question finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// The key that boxes are made for.
    pub key: MemberKey,
    /// The first key epoch that is theirs.
    pub epoch: KeyEpoch,
    /// When that ends.
    pub until: Time,
}

/// What one node was given and what was taken from it. Both only grow, so the order of hearing does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seat {
    /// The latest grant of each role, under the owner's number. Of two under one number, the one that gives less.
    granted: BTreeMap<Role, (u64, Grant)>,
    /// The number of the latest revocation.
    revoked: Option<u64>,
    /// Whether the charter names it as a curator.
    pub(super) founding: bool,
}

impl Seat {
    pub(super) fn grant(&mut self, number: u64, grant: Grant) {
        // Later numbers first; under one number the shorter, then the one with fewer keys, then any fixed order.
        let rank = |number: u64, grant: &Grant| {
            let (until, epoch) = (u64::MAX - grant.until.0, grant.epoch);
            (number, until, epoch, grant.key)
        };
        let held = self.granted.entry(grant.role).or_insert((number, grant));
        if rank(number, &grant) > rank(held.0, &held.1) {
            *held = (number, grant);
        }
    }

    pub(super) fn revoke(&mut self, number: u64) {
        self.revoked = self.revoked.max(Some(number));
    }

    /// The grant of `role`, if it was not taken back; it may have run out.
    pub(super) fn standing(&self, role: Role) -> Option<&Grant> {
        let (number, grant) = self.granted.get(&role)?;
        self.revoked.is_none_or(|revoked| *number > revoked).then_some(grant)
    }

    /// Whether `role` was ever given, whatever became of it.
    pub(super) fn ever(&self, role: Role) -> bool {
        self.granted.contains_key(&role)
    }

    /// Whether it may contribute where members do, run out or not.
    pub(super) fn contributes(&self) -> bool {
        self.standing(Role::Contributor).is_some() || self.curates()
    }

    /// Whether it ever could.
    pub(super) fn contributed(&self) -> bool {
        self.founding || self.ever(Role::Contributor) || self.ever(Role::Curator)
    }

    /// Whether it is a curator, run out or not.
    pub(super) fn curates(&self) -> bool {
        self.standing(Role::Curator).is_some() || (self.founding && self.revoked.is_none())
    }

    /// Whether it has `role` at `now`, or the role that includes it.
    pub(super) fn has(&self, role: Role, now: Time) -> bool {
        let valid = |role| self.standing(role).is_some_and(|grant| now < grant.until);
        valid(role) || valid(Role::Curator) || (self.founding && self.revoked.is_none())
    }

    /// The grant under which it is given keys at `now`: of several, the one that reaches furthest back.
    pub(super) fn reader(&self, now: Time) -> Option<&Grant> {
        [Role::Reader, Role::Curator]
            .into_iter()
            .filter_map(|role| self.standing(role))
            .filter(|grant| now < grant.until)
            .min_by_key(|grant| grant.epoch)
    }
}
