//! Giving way: a run stands still within a step while others on the machine have something to do.
//!
//! A pass of a large model takes seconds, and somebody who waits for an answer should not wait for it. So the way is looked
//! at before every few tasks of a kernel. Nothing of that changes a bit of the run, only when it ends.

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Between two looks at those who are busy.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Those who come first.
#[derive(Clone)]
pub struct Others {
    /// Whether they have something to do now. Asked about a thousand times in a second.
    pub are_busy: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The part of the time that a run keeps even then, in percent.
    pub share_percent: u32,
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.share_percent;
        f.debug_struct("Others")
            .field("share_percent", &share)
            .finish_non_exhaustive()
    }
}

/// A run's own account of how much it worked while others were busy.
#[derive(Debug)]
pub(crate) struct Way {
    others: Others,
    looked: Instant,
    /// Since when others are busy, and how long the run worked since.
    since: Option<(Instant, Duration)>,
}

impl Way {
    pub(crate) fn new(others: Others) -> Self {
        Self {
            others,
            looked: Instant::now(),
            since: None,
        }
    }

    /// Returns when it is the run's turn.
    pub(crate) fn give(&mut self) {
        let worked = self.looked.elapsed();
        if worked < LOOK_EVERY {
            return;
        }
        if (self.others.are_busy)() {
            let now = Instant::now();
            let (since, so_far) = self.since.get_or_insert((now, Duration::ZERO));
            *so_far += worked;
            while *so_far * 100 > since.elapsed() * self.others.share_percent && (self.others.are_busy)() {
                thread::sleep(LOOK_EVERY);
            }
        } else {
            self.since = None;
        }
        self.looked = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    /// Busy for so many looks.
    fn busy(looks: u32, share_percent: u32) -> (Way, Arc<AtomicU32>) {
        let left = Arc::new(AtomicU32::new(looks));
        let seen = left.clone();
        let are_busy = move || seen.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let others = Others {
            are_busy: Arc::new(are_busy),
            share_percent,
        };
        (Way::new(others), left)
    }

    #[test]
    fn a_run_stands_still_until_nobody_is_busy() {
        let (mut way, left) = busy(5, 0);
        thread::sleep(LOOK_EVERY);
        way.give();
        assert_eq!(left.load(SeqCst), 0);
    }

    #[test]
    fn a_run_keeps_its_share_while_others_are_busy() {
        let (mut way, left) = busy(u32::MAX, 50);
        let (begun, mut worked) = (Instant::now(), Duration::ZERO);
        while worked < Duration::from_millis(20) {
            let from = Instant::now();
            while from.elapsed() < 2 * LOOK_EVERY {
                std::hint::spin_loop();
            }
            worked += from.elapsed();
            way.give();
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
