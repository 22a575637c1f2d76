//! The only file that reads the wall clock.
//!
//! The node's time starts at the wall clock and then advances with the monotonic one, so setting the system clock moves no
//! timer and no timestamp of a running node. A jump of the wall clock is reported to the operator, who can restart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::Time;

/// Drift between the wall clock and ours that is reported.
const JUMP: Duration = Duration::from_secs(5);

/// The node's time: the wall clock at start, advanced monotonically.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall: Time,
}

impl Clock {
    /// A clock that starts at the current wall time.
    #[expect(clippy::new_without_default, reason = "reading the world is not a default")]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            wall: wall(),
        }
    }

    /// The current time.
    pub fn now(&self) -> Time {
        self.wall.after(self.started.elapsed())
    }

    /// Time left until `time`; zero if it is past.
    pub fn until(&self, time: Time) -> Duration {
        time.since(self.now())
    }

    /// Difference between the wall clock and ours, if it exceeds [`JUMP`].
    pub fn jumped(&self) -> Option<Duration> {
        let (ours, theirs) = (self.now(), wall());
        let apart = ours.since(theirs).max(theirs.since(ours));
        (apart > JUMP).then_some(apart)
    }
}

fn wall() -> Time {
    // Before 1970 only on a machine whose clock was never set: its blocks are refused, and `doctor` says why.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(0).after(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_forward_and_no_jump_is_seen_where_none_was() {
        let clock = Clock::new();
        let (one, two) = (clock.now(), clock.now());
        assert!(one <= two && one > Time::from_secs(1_600_000_000));
        assert_eq!(clock.jumped(), None);
    }

    #[test]
    fn a_wall_clock_that_was_set_back_is_noticed() {
        let clock = Clock {
            started: Instant::now(),
            wall: wall().after(Duration::from_secs(60)),
        };
        assert!(clock.jumped().is_some());
    }
}
