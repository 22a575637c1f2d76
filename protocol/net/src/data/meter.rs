//! A rate limit shared by all who move bytes.

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

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

#[cfg(test)]
mod tests {
    use super::*;

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
