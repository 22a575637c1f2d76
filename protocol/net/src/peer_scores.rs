//! Peers' offence points and bans. Pure: the time is an argument.

use std::{collections::BTreeMap, time::Duration};

use protocol::{NodeId, Time};

use crate::Offence;

/// Points at which a peer is banned.
pub(crate) const BANNED_AT: u32 = 100;
/// Most peers that are remembered: node ids are cheap to create.
const ENTRIES_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct PeerScores {
    points: BTreeMap<NodeId, (u32, Time)>,
    bans: BTreeMap<NodeId, Time>,
}

impl Offence {
    fn points(self) -> u32 {
        match self {
            Self::Oversize => 50,
            Self::Malformed | Self::Invalid => 20,
            Self::Spam => 5,
            Self::Unhelpful => 1,
        }
    }
}

impl PeerScores {
    /// Adds an offence. Returns true if the peer has reached [`BANNED_AT`]; the caller bans it.
    pub(crate) fn offend(&mut self, now: Time, node: NodeId, offence: Offence) -> bool {
        let points = self.points(now, node).saturating_add(offence.points());
        self.points.insert(node, (points, now));
        if self.points.len() > ENTRIES_MAX {
            self.points.retain(|_, (points, at)| decayed(*points, *at, now) > 0);
            // An attacker with that many node ids may push out the oldest entries.
            while self.points.len() > ENTRIES_MAX {
                self.points.pop_first();
            }
        }
        points >= BANNED_AT
    }

    /// Returns a peer's points. One point per second is forgiven.
    pub(crate) fn points(&self, now: Time, node: NodeId) -> u32 {
        self.points
            .get(&node)
            .map_or(0, |&(points, at)| decayed(points, at, now))
    }

    pub(crate) fn ban(&mut self, now: Time, node: NodeId, length: Duration) {
        self.points.remove(&node);
        self.bans.insert(node, now.after(length));
        while self.bans.len() > ENTRIES_MAX {
            self.bans.pop_first();
        }
    }

    pub(crate) fn is_banned(&self, node: NodeId) -> bool {
        self.bans.contains_key(&node)
    }

    /// Returns the peers whose bans have ended, and forgets the bans.
    pub(crate) fn end_bans(&mut self, now: Time) -> Vec<NodeId> {
        let over: Vec<_> = self
            .bans
            .iter()
            .filter(|&(_, until)| *until <= now)
            .map(|(&node, _)| node)
            .collect();
        over.iter().for_each(|node| {
            self.bans.remove(node);
        });
        over
    }
}

fn decayed(points: u32, at: Time, now: Time) -> u32 {
    points.saturating_sub(u32::try_from(now.since(at).as_secs()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([1; 32]);

    #[test]
    fn rare_offences_are_forgiven_and_frequent_ones_lead_to_a_ban() {
        let mut scores = PeerScores::default();
        for n in 0..100 {
            assert!(!scores.offend(Time::from_secs(n * 30), NODE, Offence::Invalid));
        }
        let now = Time::from_secs(10_000);
        let banned: Vec<_> = (0..5).map(|_| scores.offend(now, NODE, Offence::Invalid)).collect();
        assert_eq!(banned, [false, false, false, false, true]);
    }

    #[test]
    fn a_ban_ends_after_its_time() {
        let mut scores = PeerScores::default();
        scores.ban(Time(0), NODE, Duration::from_secs(10));
        assert_eq!(scores.end_bans(Time::from_secs(9)), []);
        assert!(scores.is_banned(NODE));
        assert_eq!(scores.end_bans(Time::from_secs(10)), [NODE]);
        assert!(!scores.is_banned(NODE));
    }
}
