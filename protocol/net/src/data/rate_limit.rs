//! Rate limits for transfers.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::NodeId;

/// A limit on bytes per second. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RateLimit(Option<Arc<Limit>>);

#[derive(Debug)]
struct Limit {
    per_s: NonZeroU64,
    /// Time at which all bytes taken so far fit the rate.
    free_at: Mutex<Instant>,
}

/// Unused time that may be caught up after a pause.
const BURST: Duration = Duration::from_millis(50);

impl RateLimit {
    /// Creates a limit of `per_s` bytes per second; `None` limits nothing.
    pub fn new(per_s: Option<NonZeroU64>) -> Self {
        let limit = |per_s| {
            Arc::new(Limit {
                per_s,
                free_at: Mutex::new(Instant::now()),
            })
        };
        Self(per_s.map(limit))
    }

    /// Returns the rate, if there is a limit.
    pub fn per_s(&self) -> Option<NonZeroU64> {
        self.0.as_ref().map(|limit| limit.per_s)
    }

    /// Waits until `bytes` more may pass. They count even if this future is dropped.
    pub async fn take(&self, bytes: u64) {
        let Some(limit) = &self.0 else { return };
        let wait = limit.charge(Instant::now(), bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

impl Limit {
    fn charge(&self, now: Instant, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.per_s.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        // Unused time is lost, except for the burst.
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *free_at = (*free_at).max(earliest) + cost;
        free_at.saturating_duration_since(now)
    }
}

/// Limits of the same rate for each peer. Concurrent transfers with one peer share its limit.
#[derive(Debug, Default)]
pub(crate) struct PeerRateLimits {
    per_s: Option<NonZeroU64>,
    each: Mutex<BTreeMap<NodeId, RateLimit>>,
}

impl PeerRateLimits {
    /// Number of peers above which idle ones are removed.
    const IDLE_MAX: usize = 64;

    pub(crate) fn new(per_s: Option<NonZeroU64>) -> Self {
        Self {
            per_s,
            each: Mutex::default(),
        }
    }

    /// Returns the rate for each peer.
    pub(crate) fn per_s(&self) -> Option<NonZeroU64> {
        self.per_s
    }

    /// Returns the limit of one peer.
    pub(crate) fn of(&self, node: NodeId) -> RateLimit {
        if self.per_s.is_none() {
            return RateLimit::default();
        }
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if each.len() >= Self::IDLE_MAX {
            each.retain(|_, limit| limit.0.as_ref().is_some_and(|limit| Arc::strong_count(limit) > 1));
        }
        each.entry(node).or_insert_with(|| RateLimit::new(self.per_s)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_of_one_peer_share_a_limit_and_peers_do_not() {
        let limits = PeerRateLimits::new(NonZeroU64::new(1000));
        let limit = |n| limits.of(NodeId([n; 32])).0.expect("there is a limit");
        let held: Vec<_> = (0..80).map(limit).collect();
        assert!(Arc::ptr_eq(&held[1], &limit(1)) && !Arc::ptr_eq(&held[1], &held[2]));
        drop(held);
        drop(limit(200));
        assert_eq!(limits.each.lock().unwrap().len(), 1, "idle peers are removed");
        assert!(PeerRateLimits::default().of(NodeId([1; 32])).per_s().is_none());
    }

    #[test]
    fn the_rate_holds_and_a_pause_is_not_caught_up() {
        let start = Instant::now();
        let limit = Limit {
            per_s: NonZeroU64::new(1000).unwrap(),
            free_at: Mutex::new(start),
        };
        let later = start + Duration::from_secs(60);
        let waits: Vec<_> = (0..4).map(|_| limit.charge(later, 500).as_millis()).collect();
        assert_eq!(waits, [450, 950, 1450, 1950]);
    }
}
