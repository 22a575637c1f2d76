//! The plan's state of one provider.

use std::{collections::BTreeMap, ops::Range};

use protocol::Time;

use super::Part;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Ready,
    /// Reconnect at this time.
    Waiting(Time),
}

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) state: State,
    /// Failed connections and breaks since its last completed task.
    pub(super) failures: u32,
    /// Running tasks, and how far each is.
    pub(super) running: BTreeMap<u64, u64>,
    pub(super) probing: Option<Time>,
    /// Tasks that it lacked, and when to ask again.
    pub(super) lacks: BTreeMap<u64, Time>,
    /// Times that it lacked a range, or said that it has nothing.
    empty_replies: u32,
    /// The ranges that it says it has; everything until it says otherwise.
    part: Option<Part>,
    /// An availability query is under way.
    pub(super) is_queried: bool,
    pub(super) queried_at: Option<Time>,
    /// Time of connection.
    pub(super) since: Time,
    /// Time of the last data, or of becoming idle.
    pub(super) heard: Time,
    pub(super) is_silent: bool,
    pub(super) delivered: u64,
    /// Goodput in bytes per second, smoothed over about a second.
    pub(super) per_s: u64,
    window: u64,
}

impl Provider {
    pub(super) const FAILURES_MAX: u32 = 4;
    const WIDTH_MIN: u64 = 2;
    const WIDTH_MAX: u64 = 4;
    /// Rate from which it gets one more concurrent task, in bytes per second.
    const RATE_STEP: u64 = 8 << 20;
    /// Empty replies after which it counts as having nothing.
    const EMPTY_REPLIES_MAX: u32 = 3;

    pub(super) fn new(now: Time) -> Self {
        Self {
            state: State::Connecting,
            failures: 0,
            running: BTreeMap::new(),
            probing: None,
            lacks: BTreeMap::new(),
            empty_replies: 0,
            part: None,
            is_queried: false,
            queried_at: None,
            since: now,
            heard: now,
            is_silent: false,
            delivered: 0,
            per_s: 0,
            window: 0,
        }
    }

    /// Returns true if it is connected and not silent.
    pub(super) fn is_well(&self) -> bool {
        self.state == State::Ready && !self.is_silent
    }

    pub(super) fn has_capacity(&self) -> bool {
        let width = (self.per_s / Self::RATE_STEP).clamp(Self::WIDTH_MIN, Self::WIDTH_MAX);
        // After lacking a range, it gets no more tasks until it says what it has.
        let is_known = !self.is_queried || self.empty_replies == 0;
        self.is_well() && is_known && (self.running.len() as u64) < width
    }

    /// Notes that it lacked a task, or the end of the blob if `task` is `None`.
    pub(super) fn lacked(&mut self, task: Option<u64>, again: Time) {
        self.empty_replies += 1;
        match task {
            Some(task) => drop(self.lacks.insert(task, again)),
            None => self.state = State::Waiting(again),
        }
    }

    /// Notes its availability reply.
    pub(super) fn reply(&mut self, part: Option<Part>) {
        self.is_queried = false;
        let Some(part) = part else { return };
        if part.ranges.is_empty() {
            self.empty_replies += 1;
        } else if self.part.is_none() {
            self.empty_replies = 0; // It was asked for ranges that it never claimed.
        }
        if matches!(self.state, State::Waiting(_)) && !part.ranges.is_empty() {
            self.state = State::Ready;
        }
        self.part = Some(part);
    }

    /// Returns true if it gave nothing and has nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.delivered == 0 && self.empty_replies >= Self::EMPTY_REPLIES_MAX && !self.is_queried
    }

    /// Returns the first part of `range` that it has, by its own word.
    pub(super) fn part_of(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let Some(part) = self.part.as_ref().filter(|_| !range.is_empty()) else {
            return Some(range.clone());
        };
        let within = |has: &Range<u64>| has.start.max(range.start)..has.end.min(range.end);
        part.ranges.iter().map(within).find(|part| part.start < part.end)
    }

    /// Returns true if it says that it has some of the blob but not all.
    pub(super) fn has_a_part(&self) -> bool {
        let is_whole = |part: &Part| part.has_end && part.ranges.len() == 1 && part.ranges[0].start == 0;
        self.part.as_ref().is_some_and(|part| !is_whole(part))
    }

    pub(super) fn has_start(&self) -> bool {
        self.part_of(&(0..1)).is_some()
    }

    pub(super) fn could_prove(&self) -> bool {
        self.part.as_ref().is_none_or(|part| part.has_end)
    }

    /// Returns true if it should be asked again what it has: it has a part, and nothing is left to fetch from it.
    pub(super) fn may_have_more(&self, now: Time, after_ms: u64) -> bool {
        let is_old = |at| now.since(at).as_millis() >= u128::from(after_ms);
        self.has_a_part()
            && self.is_well()
            && self.running.is_empty()
            && self.probing.is_none()
            && self.queried_at.is_none_or(is_old)
    }

    pub(super) fn could_take(&self, task: u64) -> bool {
        !self.running.contains_key(&task) && !self.lacks.contains_key(&task)
    }

    pub(super) fn delivers(&mut self, now: Time, task: u64, to: u64) {
        let Some(at) = self.running.get_mut(&task) else { return };
        let bytes = to.saturating_sub(*at);
        *at = to.max(*at);
        self.heard = now;
        self.is_silent = false;
        self.count(bytes);
    }

    /// Counts verified bytes from it.
    pub(super) fn count(&mut self, bytes: u64) {
        self.delivered += bytes;
        self.window += bytes;
    }

    pub(super) fn measure(&mut self, passed_ms: u128) {
        let fresh = u128::from(self.window) * 1000 / passed_ms.max(1);
        let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
        // An idle provider is not slow, and the first measurement stands as it is.
        if self.per_s == 0 {
            self.per_s = fresh;
        } else if !self.running.is_empty() {
            self.per_s = (self.per_s / 4).saturating_mul(3).saturating_add(fresh / 4);
        }
        self.window = 0;
    }

    /// Returns the time in milliseconds without data while something was requested.
    pub(super) fn silent_for(&self, now: Time) -> u64 {
        let asked = self.state == State::Ready && !(self.running.is_empty() && self.probing.is_none());
        let silent = now.since(self.heard).as_millis();
        if asked {
            u64::try_from(silent).unwrap_or(u64::MAX)
        } else {
            0
        }
    }

    pub(super) fn is_slow(&self, now: Time, after_ms: u64, median: u64) -> bool {
        let judged = now.since(self.since).as_millis() >= u128::from(after_ms);
        judged && self.state == State::Ready && !self.running.is_empty() && self.per_s.saturating_mul(10) < median
    }

    /// Returns the time in milliseconds that `bytes` would take beside its running tasks and `more` others.
    pub(super) fn ends_in_ms(&self, bytes: u64, more: u64) -> u64 {
        let shares = (self.running.len() as u64 + more).max(1);
        if self.is_silent {
            return u64::MAX;
        }
        bytes.saturating_mul(shares).saturating_mul(1000) / self.per_s.max(1)
    }
}
