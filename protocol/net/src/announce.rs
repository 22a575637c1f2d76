//! Admission of gossiped announcements. Pure: the time is an argument.
//!
//!  Each announcement is checked before it is forwarded. A peer that forwards an expired, replayed or unsigned one gets
//!  offence points. An author above its rate limit is ignored for a while; the peers that forward it are not blamed.

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
const STRAGGLE_MS: u64 = 30_000;
const REMEMBERED: usize = 16_384;

/// The decision about an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Forward it and pass it to the node.
    Accept(Box<Announcement>),
    /// Drop it; no peer is to blame.
    Ignore,
    /// Drop it; its author exceeds the rate limit.
    TooOften,
    /// Drop it; the forwarding peer should have seen that it is invalid.
    Reject(Wrong),
}

/// The defect of an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
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
pub(crate) struct Board {
    domain: Domain,
    known: BTreeMap<(NodeId, [u8; 32]), Known>,
    /// Time at which an author's allowance is full again.
    full_at: BTreeMap<NodeId, Time>,
}

impl Board {
    pub(crate) fn new(domain: Domain) -> Self {
        Self {
            domain,
            known: BTreeMap::new(),
            full_at: BTreeMap::new(),
        }
    }

    /// Decides about a forwarded announcement. `now` is wall-clock time.
    pub(crate) fn judge(&mut self, now: Time, bytes: &[u8]) -> Judgement {
        let Ok(said) = Announcement::decode(bytes) else {
            return Judgement::Reject(Wrong::Malformed);
        };
        let (author, term) = (said.author(), said.term());
        let key = (author, said.subject());
        let straggled = |since: Time| now.since(since) < std::time::Duration::from_millis(STRAGGLE_MS);
        if let Some(known) = self.known.get(&key)
            && term.issued <= known.issued
        {
            return match straggled(known.heard) {
                true => Judgement::Ignore,
                false => Judgement::Reject(Wrong::Replayed),
            };
        }
        match said.check(now, &self.domain) {
            Ok(()) => (),
            // It expired under way.
            Err(AnnounceError::Expired(_)) if straggled(term.expires) => return Judgement::Ignore,
            Err(error) => return Judgement::Reject(Wrong::Invalid(error)),
        }
        // Only signed announcements count against an author's limit.
        if !self.allows(now, author) {
            return Judgement::TooOften;
        }
        self.remember(now, key, &said);
        Judgement::Accept(Box::new(said))
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
        if self.full_at.len() > REMEMBERED {
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
        if self.known.len() > REMEMBERED {
            self.known.retain(|_, known| known.expires > now);
            while self.known.len() > REMEMBERED {
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

    fn accepts(board: &mut Board, now: Time, bytes: &[u8]) -> bool {
        matches!(board.judge(now, bytes), Judgement::Accept(_))
    }

    #[test]
    fn a_claim_is_accepted_once_and_its_replay_is_rejected() {
        let (mut board, said) = (Board::new(HERE), claim(1, 1, NOW));
        assert!(accepts(&mut board, NOW, &said));
        assert_eq!(board.judge(NOW.after_ms(500), &said), Judgement::Ignore);
        let later = NOW.after_ms(STRAGGLE_MS + 1);
        assert_eq!(board.judge(later, &said), Judgement::Reject(Wrong::Replayed));
        assert!(
            accepts(&mut board, later, &claim(1, 1, later)),
            "said again, it is news"
        );
        assert_eq!(board.judge(later, &said), Judgement::Ignore, "overtaken by the newer");
    }

    #[test]
    fn an_expired_forged_or_malformed_announcement_is_rejected() {
        let mut board = Board::new(HERE);
        let expired = claim(1, 1, Time::from_secs(990_000));
        let mut forged = claim(1, 1, NOW);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        for wrong in [&expired, &forged, &vec![1, 2, 3]] {
            assert!(matches!(board.judge(NOW, wrong), Judgement::Reject(_)));
        }
        let elsewhere = Domain { chain_id: 8, ..HERE };
        assert!(matches!(
            Board::new(elsewhere).judge(NOW, &claim(1, 1, NOW)),
            Judgement::Reject(_)
        ));
        let just_over = claim(1, 1, NOW);
        assert_eq!(board.judge(NOW.after_ms(3_600_001), &just_over), Judgement::Ignore);
    }

    #[test]
    fn an_author_that_floods_is_ignored_and_others_are_not() {
        let mut board = Board::new(HERE);
        let heard = (0..100)
            .filter(|n| accepts(&mut board, NOW, &claim(1, *n, NOW)))
            .count();
        assert_eq!(heard as u64, BURST);
        assert_eq!(board.judge(NOW, &claim(1, 200, NOW)), Judgement::TooOften);
        assert!(accepts(&mut board, NOW, &claim(2, 1, NOW)));
        assert!(accepts(&mut board, NOW.after_ms(REFILL_MS), &claim(1, 200, NOW)));
    }
}
