//! A rate limit shared by all who move bytes.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::NodeId;

/// Lets so many bytes through a second. Clones share the rate.
#[derive(Clone, Debug, Default)]
pub struct Meter(Option<Arc<Limit>>);

#[derive(Debug)]
struct Limit {
    per_s: NonZeroU64,
    /// When all that was taken has been paid for.
    free_at: Mutex<Instant>,
}

/// What may be taken at once after a pause.
const BURST: Duration = Duration::from_millis(50);

impl Meter {
    /// A meter for `per_s` bytes a second; without one it lets everything through.
    pub fn new(per_s: Option<NonZeroU64>) -> Self {
        let limit = |per_s| {
            Arc::new(Limit {
                per_s,
                free_at: Mutex::new(Instant::now()),
            })
        };
        Self(per_s.map(limit))
    }

    /// The rate, if there is a limit.
    pub fn per_s(&self) -> Option<NonZeroU64> {
        self.0.as_ref().map(|limit| limit.per_s)
    }

    /// Waits until `bytes` more may pass. Who drops this future has taken them all the same.
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
        // Time that nobody used is lost, but for the burst.
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *free_at = (*free_at).max(earliest) + cost;
        free_at.saturating_duration_since(now)
    }
}

/// A rate for each peer, the same for all of them. What flows with one peer at once shares its rate.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    per_s: Option<NonZeroU64>,
    each: Mutex<BTreeMap<NodeId, Meter>>,
}

impl Meters {
    /// Peers that are remembered although nothing flows with them.
    const IDLE_MAX: usize = 64;

    pub(crate) fn new(per_s: Option<NonZeroU64>) -> Self {
        Self {
            per_s,
            each: Mutex::default(),
        }
    }

    /// What each peer may have.
    pub(crate) fn per_s(&self) -> Option<NonZeroU64> {
        self.per_s
    }

    /// The meter of one peer.
    pub(crate) fn of(&self, node: NodeId) -> Meter {
        if self.per_s.is_none() {
            return Meter::default();
        }
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if each.len() >= Self::IDLE_MAX {
            each.retain(|_, meter| meter.0.as_ref().is_some_and(|limit| Arc::strong_count(limit) > 1));
        }
        each.entry(node).or_insert_with(|| Meter::new(self.per_s)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flows_with_one_peer_shares_a_meter_and_peers_do_not() {
        let meters = Meters::new(NonZeroU64::new(1000));
        let limit = |n| meters.of(NodeId([n; 32])).0.expect("there is a limit");
        let held: Vec<_> = (0..80).map(limit).collect();
        assert!(Arc::ptr_eq(&held[1], &limit(1)) && !Arc::ptr_eq(&held[1], &held[2]));
        drop(held);
        drop(limit(200));
        assert_eq!(meters.each.lock().unwrap().len(), 1, "what is idle is forgotten");
        assert!(Meters::default().of(NodeId([1; 32])).per_s().is_none());
    }

    #[test]
    fn what_passes_in_a_second_is_the_rate_and_a_pause_is_not_saved_up() {
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
