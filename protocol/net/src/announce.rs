//! Admission of gossiped announcements. Pure: the time is an argument.
//!
//! Each announcement is checked before it is forwarded. A peer that forwards an expired, replayed or unsigned one gets
//! offence points. An author above its rate limit is ignored for a while; the peers that forward it are not blamed.

use std::collections::BTreeMap;

use protocol::{
    NodeId, Time,
    crypto::{Domain, Signed},
    message::announce::{AnnounceError, Announcement, Claim},
};
use tokio::sync::oneshot;

/// Longest encoded claim, in bytes.
pub(crate) const CLAIM_MAX: usize = 1 << 10;
/// The receiver of a search's result.
pub(crate) type Found = oneshot::Sender<Vec<Signed<Claim>>>;

/// Announcements that one author may make in a burst, and the time until it may make another one.
const BURST: u64 = 16;
const REFILL_MS: u64 = 1_000;
/// Time within which a late or overtaken copy is taken for gossip delay, not for a replay.
const LATE_COPY_MS: u64 = 30_000;
const ENTRIES_MAX: usize = 16_384;

/// The decision about an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Forward it and pass it to the node.
    Accept(Box<Announcement>),
    /// Drop it; no peer is to blame.
    Ignore,
    /// Drop it; its author exceeds the rate limit.
    TooOften,
    /// Drop it; the forwarding peer should have seen that it is invalid.
    Reject(Defect),
}

/// The defect of an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    Malformed,
    Replayed,
    Invalid(AnnounceError),
}

#[derive(Debug)]
struct Known {
    issued: Time,
    expires: Time,
    heard: Time,
}

/// The recent announcements, and the authors' rate limits.
#[derive(Debug)]
pub(crate) struct AnnouncementFilter {
    domain: Domain,
    known: BTreeMap<(NodeId, [u8; 32]), Known>,
    /// Time at which an author's allowance is full again.
    full_at: BTreeMap<NodeId, Time>,
}

impl AnnouncementFilter {
    pub(crate) fn new(domain: Domain) -> Self {
        Self {
            domain,
            known: BTreeMap::new(),
            full_at: BTreeMap::new(),
        }
    }

    /// Decides about a forwarded announcement. `now` is wall-clock time.
    pub(crate) fn check(&mut self, now: Time, bytes: &[u8]) -> Decision {
        let Ok(said) = Announcement::decode(bytes) else {
            return Decision::Reject(Defect::Malformed);
        };
        let (author, term) = (said.author(), said.term());
        let key = (author, said.subject());
        let is_late_copy = |since: Time| now.since(since) < std::time::Duration::from_millis(LATE_COPY_MS);
        if let Some(known) = self.known.get(&key)
            && term.issued <= known.issued
        {
            return match is_late_copy(known.heard) {
                true => Decision::Ignore,
                false => Decision::Reject(Defect::Replayed),
            };
        }
        match said.check(now, &self.domain) {
            Ok(()) => (),
            // It expired under way.
            Err(AnnounceError::Expired(_)) if is_late_copy(term.expires) => return Decision::Ignore,
            Err(error) => return Decision::Reject(Defect::Invalid(error)),
        }
        // Only signed announcements count against an author's limit.
        if !self.allows(now, author) {
            return Decision::TooOften;
        }
        self.remember(now, key, &said);
        Decision::Accept(Box::new(said))
    }

    fn allows(&mut self, now: Time, author: NodeId) -> bool {
        let full_at = self
            .full_at
            .get(&author)
            .copied()
            .unwrap_or(now)
            .max(now)
            .after_ms(REFILL_MS);
        let allowed = full_at.since(now).as_millis() <= u128::from(BURST * REFILL_MS);
        if allowed {
            self.full_at.insert(author, full_at);
        }
        if self.full_at.len() > ENTRIES_MAX {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        allowed
    }

    fn remember(&mut self, now: Time, key: (NodeId, [u8; 32]), said: &Announcement) {
        let term = said.term();
        let known = Known {
            issued: term.issued,
            expires: term.expires,
            heard: now,
        };
        self.known.insert(key, known);
        if self.known.len() > ENTRIES_MAX {
            self.known.retain(|_, known| known.expires > now);
            while self.known.len() > ENTRIES_MAX {
                self.known.pop_first();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{
        BlobHash,
        crypto::{SecretKey, Signed},
        message::announce::{Claim, Term},
    };

    use super::*;

    const HERE: Domain = Domain {
        chain_id: 7,
        genesis: [9; 32],
    };
    const NOW: Time = Time::from_secs(1_000_000);

    fn claim(author: u8, root: u8, issued: Time) -> Vec<u8> {
        let key = SecretKey::from_seed([author; 32]);
        let claim = Claim {
            datanet: None,
            root: BlobHash([root; 32]),
            provider: NodeId(key.public()),
            term: Term::starting(issued, 3_600_000),
        };
        Announcement::Claim(Signed::new(claim, &key, &HERE)).encode()
    }

    fn accepts(filter: &mut AnnouncementFilter, now: Time, bytes: &[u8]) -> bool {
        matches!(filter.check(now, bytes), Decision::Accept(_))
    }

    #[test]
    fn a_claim_is_accepted_once_and_its_replay_is_rejected() {
        let (mut filter, said) = (AnnouncementFilter::new(HERE), claim(1, 1, NOW));
        assert!(accepts(&mut filter, NOW, &said));
        assert_eq!(filter.check(NOW.after_ms(500), &said), Decision::Ignore);
        let later = NOW.after_ms(LATE_COPY_MS + 1);
        assert_eq!(filter.check(later, &said), Decision::Reject(Defect::Replayed));
        assert!(
            accepts(&mut filter, later, &claim(1, 1, later)),
            "said again, it is news"
        );
        assert_eq!(filter.check(later, &said), Decision::Ignore, "overtaken by the newer");
    }

    #[test]
    fn an_expired_forged_or_malformed_announcement_is_rejected() {
        let mut filter = AnnouncementFilter::new(HERE);
        let expired = claim(1, 1, Time::from_secs(990_000));
        let mut forged = claim(1, 1, NOW);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        for wrong in [&expired, &forged, &vec![1, 2, 3]] {
            assert!(matches!(filter.check(NOW, wrong), Decision::Reject(_)));
        }
        let elsewhere = Domain { chain_id: 8, ..HERE };
        assert!(matches!(
            AnnouncementFilter::new(elsewhere).check(NOW, &claim(1, 1, NOW)),
            Decision::Reject(_)
        ));
        let just_over = claim(1, 1, NOW);
        assert_eq!(filter.check(NOW.after_ms(3_600_001), &just_over), Decision::Ignore);
    }

    #[test]
    fn an_author_that_floods_is_ignored_and_others_are_not() {
        let mut filter = AnnouncementFilter::new(HERE);
        let heard = (0..100)
            .filter(|n| accepts(&mut filter, NOW, &claim(1, *n, NOW)))
            .count();
        assert_eq!(heard as u64, BURST);
        assert_eq!(filter.check(NOW, &claim(1, 200, NOW)), Decision::TooOften);
        assert!(accepts(&mut filter, NOW, &claim(2, 1, NOW)));
        assert!(accepts(&mut filter, NOW.after_ms(REFILL_MS), &claim(1, 200, NOW)));
    }
}
