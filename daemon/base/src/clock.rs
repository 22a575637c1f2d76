//! The only file that reads the wall clock.
//!
//! The node's time starts at the wall clock and then moves with the monotonic one: a clock that is set back or forward
//! under a running node moves no timer and no timestamp. What the wall clock says meanwhile is watched, and a jump is
//! told to the operator, who can restart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::Time;

/// Drift of the wall clock against ours that is worth a warning.
const JUMP: Duration = Duration::from_secs(5);

/// The node's time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall: Time,
}

impl Clock {
    /// A clock that starts now.
    #[expect(clippy::new_without_default, reason = "reading the world is not a default")]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            wall: wall(),
        }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.wall.after(self.started.elapsed())
    }

    /// How long until `time`; zero if it is past.
    pub fn until(&self, time: Time) -> Duration {
        time.since(self.now())
    }

    /// How far the wall clock has moved against ours, if that is far.
    pub fn jumped(&self) -> Option<Duration> {
        let (ours, theirs) = (self.now(), wall());
        let apart = ours.since(theirs).max(theirs.since(ours));
        (apart > JUMP).then_some(apart)
    }
}

fn wall() -> Time {
    // Before 1970 only on a machine whose clock was never set: its blocks would be refused, and `doctor` says why.
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
