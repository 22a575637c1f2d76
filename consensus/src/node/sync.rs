//! Block sync: which peers are ahead, and which of them to ask for blocks. It only decides; the node sends requests
//! and applies replies.

use std::collections::BTreeMap;

use protocol::{Height, NodeId, Time};

/// A peer that does not reply within this time is passed over.
const ANSWER_WITHIN_MS: u64 = 3_000;
/// Being one block behind is normal while that block is decided; it is requested only after this time.
const BEHIND_FOR_MS: u64 = 300;

/// The request that waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OpenRequest {
    to: NodeId,
    request_id: u64,
    due: Time,
}

/// Tips of the peers, and at most one open request for blocks.
#[derive(Debug, Default)]
pub(super) struct Sync {
    tips: BTreeMap<NodeId, Height>,
    open: Option<OpenRequest>,
    /// The time since which a peer has been ahead while this node's tip did not move.
    behind_since: Option<Time>,
    /// The peer that was asked last; the next request goes to the next one by id.
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

    /// Notes that a peer claims, or showed, that its chain reaches `tip`. A lower claim later changes nothing.
    pub(super) fn peer_tip(&mut self, now: Time, peer: NodeId, tip: Height, own_tip: Height) {
        if let Some(known) = self.tips.get_mut(&peer) {
            *known = tip.max(*known);
            if tip > own_tip {
                self.behind_since.get_or_insert(now);
            }
        }
    }

    /// Lowers a peer's tip to this node's, because its claim turned out empty or wrong.
    pub(super) fn lower_tip(&mut self, peer: NodeId, own_tip: Height) {
        if let Some(known) = self.tips.get_mut(&peer) {
            *known = own_tip.min(*known);
        }
    }

    /// Notes that this node's tip moved.
    pub(super) fn advanced(&mut self, now: Time, own_tip: Height) {
        self.behind_since = (self.best() > own_tip).then_some(now);
    }

    /// The highest tip that any peer claims.
    pub(super) fn best(&self) -> Height {
        self.tips.values().copied().max().unwrap_or_default()
    }

    /// All connected peers.
    pub(super) fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.tips.keys().copied()
    }

    /// Closes the request. Returns true if it was open.
    pub(super) fn close(&mut self, request_id: u64) -> bool {
        let own_tip = self.open.is_some_and(|open| open.request_id == request_id);
        if own_tip {
            self.open = None;
        }
        own_tip
    }

    /// The peer to ask for blocks now; `None` if none is ahead or a request is open. The caller sends the request
    /// under `request_id`.
    pub(super) fn next_request(&mut self, now: Time, own_tip: Height, request_id: u64) -> Option<NodeId> {
        if let Some(open) = self.open {
            if now < open.due {
                return None;
            }
            self.open = None;
            self.lower_tip(open.to, own_tip);
        }
        if self.due(own_tip).is_none_or(|due| now < due) {
            return None;
        }
        let ahead = |(peer, tip): (&NodeId, &Height)| (*tip > own_tip).then_some(*peer);
        // Peers take turns by id, so that one that stays silent does not get every request.
        let after = self
            .tips
            .iter()
            .filter_map(ahead)
            .find(|peer| self.last.is_none_or(|last| *peer > last));
        let to = after.or_else(|| self.tips.iter().find_map(ahead))?;
        self.last = Some(to);
        self.open = Some(OpenRequest {
            to,
            request_id,
            due: now.after_ms(ANSWER_WITHIN_MS),
        });
        Some(to)
    }

    /// The time at which to call [`Sync::next_request`] next.
    pub(super) fn deadline(&self, own_tip: Height) -> Option<Time> {
        match self.open {
            Some(open) => Some(open.due),
            None => self.due(own_tip),
        }
    }

    fn due(&self, own_tip: Height) -> Option<Time> {
        let best = self.best();
        let since = self.behind_since.filter(|_| best > own_tip)?;
        Some(if best > own_tip.next() {
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
    fn a_node_one_block_behind_waits_before_it_asks_for_blocks() {
        let mut sync = behind();
        sync.peer_tip(Time(0), A, Height(5), Height(4));
        assert_eq!(sync.next_request(Time(0), Height(4), 1), None);
        assert_eq!(sync.deadline(Height(4)), Some(Time(0).after_ms(BEHIND_FOR_MS)));
        assert_eq!(
            sync.next_request(Time(0).after_ms(BEHIND_FOR_MS), Height(4), 1),
            Some(A)
        );

        let mut sync = behind();
        sync.peer_tip(Time(0), A, Height(9), Height(4));
        assert_eq!(sync.next_request(Time(0), Height(4), 1), Some(A));
    }

    #[test]
    fn a_peer_that_does_not_reply_is_passed_over() {
        let mut sync = behind();
        sync.peer_tip(Time(0), A, Height(9), Height(4));
        sync.peer_tip(Time(0), B, Height(9), Height(4));
        assert_eq!(sync.next_request(Time(0), Height(4), 1), Some(A));
        assert_eq!(sync.next_request(Time(1), Height(4), 2), None, "one request at a time");
        assert_eq!(
            sync.next_request(Time(0).after_ms(ANSWER_WITHIN_MS), Height(4), 2),
            Some(B)
        );
        assert!(!sync.close(1) && sync.close(2));
    }

    #[test]
    fn the_claim_of_a_peer_that_is_not_connected_is_ignored() {
        let mut sync = behind();
        sync.peer_tip(Time(0), NodeId([9; 32]), Height(99), Height(0));
        assert_eq!(sync.next_request(Time(1_000_000), Height(0), 1), None);
    }
}
