//! Who is ahead of us, and whom to ask for the blocks we lack. Decides only; the node sends and applies.

use std::collections::BTreeMap;

use protocol::{Height, NodeId, Time};

/// A peer that does not answer in this time is passed over.
const ANSWER_WITHIN_MS: u64 = 3_000;
/// One block behind is normal while it is being decided; only for longer is it worth asking.
const BEHIND_FOR_MS: u64 = 300;

/// The question that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    to: NodeId,
    ticket: u64,
    due: Time,
}

/// Keeps at most one question for blocks open.
#[derive(Debug, Default)]
pub(super) struct Sync {
    tips: BTreeMap<NodeId, Height>,
    open: Option<Open>,
    /// Since when somebody is ahead of us, while our tip stands still.
    behind_since: Option<Time>,
    /// Asked last; the next question goes to the one after it.
    last: Option<NodeId>,
}

impl Sync {
    pub(super) fn connected(&mut self, peer: NodeId) {
        self.tips.entry(peer).or_default();
    }

    pub(super) fn disconnected(&mut self, peer: NodeId) {
        self.tips.remove(&peer);
        if self.open.is_some_and(|open| open.to == peer) {
            self.open = None;
        }
    }

    /// A peer said, or showed, that its chain reaches `tip`. What it said stands until it says more.
    pub(super) fn saw(&mut self, now: Time, peer: NodeId, tip: Height, ours: Height) {
        if let Some(known) = self.tips.get_mut(&peer) {
            *known = tip.max(*known);
            if tip > ours {
                self.behind_since.get_or_insert(now);
            }
        }
    }

    /// A peer's claim turned out empty or wrong.
    pub(super) fn doubt(&mut self, peer: NodeId, ours: Height) {
        if let Some(known) = self.tips.get_mut(&peer) {
            *known = ours.min(*known);
        }
    }

    /// Our own tip moved.
    pub(super) fn advanced(&mut self, now: Time, ours: Height) {
        self.behind_since = (self.best() > ours).then_some(now);
    }

    /// The highest tip that any peer claims.
    pub(super) fn best(&self) -> Height {
        self.tips.values().copied().max().unwrap_or_default()
    }

    /// Everyone we are connected to.
    pub(super) fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.tips.keys().copied()
    }

    /// Whether the question is still open; closes it.
    pub(super) fn close(&mut self, ticket: u64) -> bool {
        let ours = self.open.is_some_and(|open| open.ticket == ticket);
        if ours {
            self.open = None;
        }
        ours
    }

    /// Whom to ask now, if anyone. The caller sends the question under `ticket`.
    pub(super) fn ask(&mut self, now: Time, ours: Height, ticket: u64) -> Option<NodeId> {
        if let Some(open) = self.open {
            if now < open.due {
                return None;
            }
            self.open = None;
            self.doubt(open.to, ours);
        }
        if self.due(ours).is_none_or(|due| now < due) {
            return None;
        }
        let ahead = |(peer, tip): (&NodeId, &Height)| (*tip > ours).then_some(*peer);
        let after = self
            .tips
            .iter()
            .filter_map(ahead)
            .find(|peer| self.last.is_none_or(|last| *peer > last));
        let to = after.or_else(|| self.tips.iter().find_map(ahead))?;
        self.last = Some(to);
        self.open = Some(Open {
            to,
            ticket,
            due: now.after_ms(ANSWER_WITHIN_MS),
        });
        Some(to)
    }

    /// When to call [`Sync::ask`] next.
    pub(super) fn deadline(&self, ours: Height) -> Option<Time> {
        match self.open {
            Some(open) => Some(open.due),
            None => self.due(ours),
        }
    }

    fn due(&self, ours: Height) -> Option<Time> {
        let best = self.best();
        let since = self.behind_since.filter(|_| best > ours)?;
        Some(if best > ours.next() {
            since
        } else {
            since.after_ms(BEHIND_FOR_MS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);

    fn behind() -> Sync {
        let mut sync = Sync::default();
        sync.connected(A);
        sync.connected(B);
        sync
    }

    #[test]
    fn one_block_behind_is_given_time_and_more_is_not() {
        let mut sync = behind();
        sync.saw(Time(0), A, Height(5), Height(4));
        assert_eq!(sync.ask(Time(0), Height(4), 1), None);
        assert_eq!(sync.deadline(Height(4)), Some(Time(0).after_ms(BEHIND_FOR_MS)));
        assert_eq!(sync.ask(Time(0).after_ms(BEHIND_FOR_MS), Height(4), 1), Some(A));

        let mut sync = behind();
        sync.saw(Time(0), A, Height(9), Height(4));
        assert_eq!(sync.ask(Time(0), Height(4), 1), Some(A));
    }

    #[test]
    fn a_silent_peer_is_passed_over() {
        let mut sync = behind();
        sync.saw(Time(0), A, Height(9), Height(4));
        sync.saw(Time(0), B, Height(9), Height(4));
        assert_eq!(sync.ask(Time(0), Height(4), 1), Some(A));
        assert_eq!(sync.ask(Time(1), Height(4), 2), None, "one question at a time");
        assert_eq!(sync.ask(Time(0).after_ms(ANSWER_WITHIN_MS), Height(4), 2), Some(B));
        assert!(!sync.close(1) && sync.close(2));
    }

    #[test]
    fn a_stranger_moves_nothing() {
        let mut sync = behind();
        sync.saw(Time(0), NodeId([9; 32]), Height(99), Height(0));
        assert_eq!(sync.ask(Time(1_000_000), Height(0), 1), None);
    }
}
