//! Membership of a datanet: grants, revocations, and the roles that result.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::{
    NodeId, Time,
    seal::{KeyEpoch, MemberKey},
};

/// A member's role. A curator has every right; a contributor cannot read without a reader's grant as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Role {
    /// May fetch and open shards.
    Reader,
    /// May propose contributions where only members may.
    Contributor,
    /// May approve, decline, publish, tombstone and read.
    Curator,
}

/// A role that the owner gives to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    pub subject: NodeId,
    /// The subject's X25519 key, for which epoch keys are wrapped.
    pub key: MemberKey,
    pub role: Role,
    /// End of validity; the grant has no effect from this time on.
    pub until: Time,
    /// The first key epoch that the subject gets keys of. Earlier shards stay closed to it.
    pub epoch: KeyEpoch,
}

/// A member at the time of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    /// The key for which epoch keys are wrapped.
    pub key: MemberKey,
    /// The first key epoch that the member gets keys of.
    pub epoch: KeyEpoch,
    /// End of the grant.
    pub until: Time,
}

/// The grants and revocations of one node. Both only grow, so the order of arrival does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MemberRecord {
    /// The latest grant of each role with the owner's statement number. Of two with one number, the more restrictive.
    granted: BTreeMap<Role, (u64, Grant)>,
    /// The number of the latest revocation.
    revoked: Option<u64>,
    /// True if the charter names the node as a curator.
    pub(super) founding: bool,
}

impl MemberRecord {
    pub(super) fn grant(&mut self, number: u64, grant: Grant) {
        // Later numbers win; under one number the shorter grant, then the one with fewer keys, then any fixed order.
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

    /// Returns the grant of `role` unless it was revoked. The grant may have expired.
    pub(super) fn status(&self, role: Role) -> Option<&Grant> {
        let (number, grant) = self.granted.get(&role)?;
        self.revoked.is_none_or(|revoked| *number > revoked).then_some(grant)
    }

    /// Returns true if `role` was ever granted, even if it was revoked since.
    pub(super) fn ever(&self, role: Role) -> bool {
        self.granted.contains_key(&role)
    }

    /// Returns true if the node may contribute where members may; expiry is ignored.
    pub(super) fn contributes(&self) -> bool {
        self.status(Role::Contributor).is_some() || self.curates()
    }

    /// Returns true if the node could ever contribute.
    pub(super) fn contributed(&self) -> bool {
        self.founding || self.ever(Role::Contributor) || self.ever(Role::Curator)
    }

    /// Returns true if the node is a curator; expiry is ignored.
    pub(super) fn curates(&self) -> bool {
        self.status(Role::Curator).is_some() || (self.founding && self.revoked.is_none())
    }

    /// Returns true if the node has `role` at `now`, or a role that includes it.
    pub(super) fn has(&self, role: Role, now: Time) -> bool {
        let valid = |role| self.status(role).is_some_and(|grant| now < grant.until);
        valid(role) || valid(Role::Curator) || (self.founding && self.revoked.is_none())
    }

    /// Returns the grant that entitles the node to keys at `now`: of several, the one with the earliest epoch.
    pub(super) fn reader(&self, now: Time) -> Option<&Grant> {
        [Role::Reader, Role::Curator]
            .into_iter()
            .filter_map(|role| self.status(role))
            .filter(|grant| now < grant.until)
            .min_by_key(|grant| grant.epoch)
    }
}
