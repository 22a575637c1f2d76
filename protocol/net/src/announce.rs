//! Which gossiped announcements count. Pure; told the time.
//!
//! Each is judged before it is passed on. Who bears one that is expired, replayed or not signed loses standing; who
//! announces too often is not heard for a while, and nobody else is blamed for it.

use std::collections::BTreeMap;

use protocol::{
    NodeId, Time,
    crypto::{Domain, Signed},
    message::announce::{AnnounceError, Announcement, Claim},
};
use tokio::sync::oneshot;

/// Longest claim that is read.
pub(crate) const CLAIM_MAX: usize = 1 << 10;
/// Where the claims that were found are awaited.
pub(crate) type Found = oneshot::Sender<Vec<Signed<Claim>>>;

/// Announcements that one author may make at once, and how long until it may make one more.
const BURST: u64 = 16;
const REFILL_MS: u64 = 1_000;
/// Gossip that is on its way twice, or overtaken, arrives within this time: nobody replayed it.
const STRAGGLE_MS: u64 = 30_000;
const REMEMBERED: usize = 16_384;

/// What to do with an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Pass it on and tell the node.
    Accept(Box<Announcement>),
    /// Nobody is to blame.
    Ignore,
    /// Its author says too much.
    TooOften,
    /// Its bearer should have seen that it is wrong.
    Reject(Wrong),
}

/// What is wrong with an announcement.
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

/// What was announced lately.
#[derive(Debug)]
pub(crate) struct Board {
    domain: Domain,
    known: BTreeMap<(NodeId, [u8; 32]), Known>,
    /// When an author's allowance is full again.
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

    /// Judges what somebody passed on. `now` is the time of day.
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
            // It ran out on its way.
            Err(AnnounceError::Expired(_)) if straggled(term.expires) => return Judgement::Ignore,
            Err(error) => return Judgement::Reject(Wrong::Invalid(error)),
        }
        // Only what is signed counts against its author.
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
    fn a_claim_is_accepted_once_and_its_replay_is_held_against_the_bearer() {
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
    fn what_is_expired_forged_or_no_announcement_is_rejected() {
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
    fn an_author_that_floods_is_not_heard_and_others_are() {
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
