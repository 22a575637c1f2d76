//! Yielding within a step: a run stands still while foreground work on the machine is busy.
//!
//! A pass of a large model takes seconds, and a request to the engine should not wait for it. So the run asks before
//! every few tasks of a kernel. That changes when the run ends and no bit of it.

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Time between two checks of the foreground work.
const POLL_EVERY: Duration = Duration::from_millis(1);

/// Work that goes before a run, such as serving requests.
#[derive(Clone)]
pub struct Foreground {
    /// Returns true while the work is busy. Called about a thousand times a second.
    pub is_busy: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Percentage of the time that the run keeps even then.
    pub share_percent: u32,
}

impl fmt::Debug for Foreground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.share_percent;
        f.debug_struct("Others")
            .field("share_percent", &share)
            .finish_non_exhaustive()
    }
}

/// Accounts for the time that a run worked while the foreground was busy.
#[derive(Debug)]
pub(crate) struct ForegroundYield {
    foreground: Foreground,
    checked: Instant,
    /// Start of the current busy period, and the time that the run worked since.
    since: Option<(Instant, Duration)>,
}

impl ForegroundYield {
    pub(crate) fn new(foreground: Foreground) -> Self {
        Self {
            foreground,
            checked: Instant::now(),
            since: None,
        }
    }

    /// Returns when the run may work: at once, unless it has used up its share of the busy period.
    pub(crate) fn wait(&mut self) {
        let worked = self.checked.elapsed();
        if worked < POLL_EVERY {
            return;
        }
        if (self.foreground.is_busy)() {
            let now = Instant::now();
            let (since, so_far) = self.since.get_or_insert((now, Duration::ZERO));
            *so_far += worked;
            while *so_far * 100 > since.elapsed() * self.foreground.share_percent && (self.foreground.is_busy)() {
                thread::sleep(POLL_EVERY);
            }
        } else {
            self.since = None;
        }
        self.checked = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    /// Busy for so many looks.
    fn busy(looks: u32, share_percent: u32) -> (ForegroundYield, Arc<AtomicU32>) {
        let left = Arc::new(AtomicU32::new(looks));
        let seen = left.clone();
        let is_busy = move || seen.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let foreground = Foreground {
            is_busy: Arc::new(is_busy),
            share_percent,
        };
        (ForegroundYield::new(foreground), left)
    }

    #[test]
    fn a_run_waits_until_the_foreground_is_idle() {
        let (mut throttle, left) = busy(5, 0);
        thread::sleep(POLL_EVERY);
        throttle.wait();
        assert_eq!(left.load(SeqCst), 0);
    }

    #[test]
    fn a_run_keeps_its_share_while_the_foreground_is_busy() {
        let (mut throttle, left) = busy(u32::MAX, 50);
        let (begun, mut worked) = (Instant::now(), Duration::ZERO);
        while worked < Duration::from_millis(20) {
            let from = Instant::now();
            while from.elapsed() < 2 * POLL_EVERY {
                std::hint::spin_loop();
            }
            worked += from.elapsed();
            throttle.wait();
        }
        assert!(
            begun.elapsed() >= worked + worked / 2,
            "{:?} of {:?}",
            worked,
            begun.elapsed()
        );
        assert!(left.load(SeqCst) > 0);
    }
}
