//! The missing ranges, cut into tasks, and the providers that run each.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use protocol::NodeId;

/// A missing range. Its name is its original start.
#[derive(Debug)]
pub(super) struct Task {
    /// Verified up to this offset.
    at: u64,
    end: u64,
    pub(super) runners: BTreeSet<NodeId>,
}

impl Task {
    pub(super) fn range(&self) -> Range<u64> {
        self.at..self.end
    }

    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }
}

/// All incomplete tasks.
#[derive(Debug)]
pub(super) struct Tasks {
    named: BTreeMap<u64, Task>,
    /// Tasks that no provider runs, or only silent ones.
    open: BTreeSet<u64>,
    total: u64,
    left: u64,
}

impl Tasks {
    /// Cuts the missing ranges at multiples of `bytes`.
    pub(super) fn cut(missing: &[Range<u64>], bytes: u64) -> Self {
        let total = missing.iter().map(|range| range.end - range.start).sum();
        let mut tasks = Self {
            named: BTreeMap::new(),
            open: BTreeSet::new(),
            total,
            left: total,
        };
        for range in missing {
            let mut at = range.start;
            while at < range.end {
                let end = (at / bytes + 1).saturating_mul(bytes).min(range.end);
                tasks.insert(at..end);
                at = end;
            }
        }
        tasks
    }

    fn insert(&mut self, Range { start: at, end }: Range<u64>) {
        if at < end {
            let runners = BTreeSet::new();
            self.named.insert(at, Task { at, end, runners });
            self.open.insert(at);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Returns the number of bytes that are not verified yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Returns true if at most a fifth of the missing bytes is left.
    pub(super) fn is_near_the_end(&self) -> bool {
        self.left.saturating_mul(5) <= self.total
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Task)> {
        self.named.iter().map(|(&name, task)| (name, task))
    }

    pub(super) fn open(&self) -> impl Iterator<Item = (u64, &Task)> {
        self.open.iter().filter_map(|name| Some((*name, self.named.get(name)?)))
    }

    pub(super) fn verified(&mut self, name: u64, to: u64) {
        let Some(task) = self.named.get_mut(&name) else { return };
        let to = to.min(task.end);
        if to > task.at {
            self.left -= to - task.at;
            task.at = to;
        }
    }

    /// Removes a completed task. Returns the providers that still run it.
    pub(super) fn complete(&mut self, name: u64) -> BTreeSet<NodeId> {
        let Some(task) = self.named.remove(&name) else {
            return BTreeSet::new();
        };
        self.left -= task.left();
        self.open.remove(&name);
        task.runners
    }

    /// Removes `node` from a task; reopens it if no responsive provider runs it.
    pub(super) fn release(&mut self, node: NodeId, name: u64, is_silent: impl Fn(&NodeId) -> bool) {
        let Some(task) = self.named.get_mut(&name) else { return };
        task.runners.remove(&node);
        if task.runners.iter().all(is_silent) {
            self.open.insert(name);
        }
    }

    /// Reopens tasks, so that other providers run them too.
    pub(super) fn reopen<'a>(&mut self, names: impl Iterator<Item = &'a u64>) {
        self.open.extend(names);
    }

    /// Narrows an open task to `part`, which becomes a task of its own; the rest stays open. The task must not be
    /// running.
    pub(super) fn narrow(&mut self, name: u64, part: &Range<u64>) -> u64 {
        let Some(task) = self.named.get(&name) else { return name };
        let whole = task.range();
        if whole == *part {
            return name;
        }
        assert!(task.runners.is_empty(), "a task that is under way is not cut");
        assert!(whole.start <= part.start && part.end <= whole.end, "a part lies within");
        self.named.remove(&name);
        self.open.remove(&name);
        self.insert(whole.start..part.start);
        self.insert(part.clone());
        self.insert(part.end..whole.end);
        part.start
    }

    /// Records that `node` runs a task, and returns the range to fetch.
    pub(super) fn begin(&mut self, name: u64, node: NodeId) -> Option<Range<u64>> {
        let task = self.named.get_mut(&name)?;
        task.runners.insert(node);
        self.open.remove(&name);
        Some(task.range())
    }
}
