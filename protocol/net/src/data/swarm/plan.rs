//! The plan of one blob's fetch: which provider fetches which range, and when. Pure: the time is an argument.
//!
//! First one provider proves the size. The missing ranges are then cut into tasks; each provider runs two to four of them,
//! more if it is fast. If a provider is silent for a second, its tasks are given to others too; if it stays silent, or is
//! slower than a tenth of the median, it is dropped. Near the end, idle providers duplicate the tasks that would finish last.
//! A provider with only a part of the blob is asked which part, and gets tasks within it.

mod assign;
mod provider;
mod tasks;
#[cfg(test)]
mod tests;
mod timeouts;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use protocol::{NodeId, Time};

use super::ProviderGone;
use provider::{Provider, State};
use tasks::{Task, Tasks};

/// Constants of the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) task_bytes: u64,
    pub(super) tick_ms: u64,
    /// Silence after which a provider's tasks are given to others too.
    pub(super) silent_ms: u64,
    /// Silence after which it is dropped.
    pub(super) stalled_ms: u64,
    /// Time before a provider may be judged slow.
    pub(super) slow_after_ms: u64,
    /// Time after which a provider is asked again for a range that it lacked.
    pub(super) lacks_ms: u64,
    /// Interval at which a provider with a part is asked what it has now.
    pub(super) query_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            task_bytes: 4 << 20,
            tick_ms: 250,
            silent_ms: 1_000,
            stalled_ms: 5_000,
            slow_after_ms: 4_000,
            lacks_ms: 5_000,
            query_ms: 2_000,
        }
    }
}

/// An input of [`Plan::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A node that is said to have the blob.
    Offer(NodeId),
    /// A connection was established.
    Connected(NodeId),
    /// No connection could be established.
    Unreachable(NodeId),
    /// The node proved the size, with this many bytes of the blob.
    Proven {
        node: NodeId,
        bytes: u64,
    },
    /// The size is proven, and these ranges are missing: whole groups, except for the end.
    Sized(Vec<Range<u64>>),
    /// A task's bytes up to `to` are verified and on their way into the store.
    Verified {
        node: NodeId,
        task: u64,
        to: u64,
    },
    /// A task ended; without a task, the size proof failed.
    Ended {
        node: NodeId,
        task: Option<u64>,
        how: Ended,
    },
    /// The node's availability reply; `None` if it did not reply.
    Has {
        node: NodeId,
        part: Option<Part>,
    },
    Tick,
}

/// The ranges that a provider says it has. Unproven: a false claim costs a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Whole groups, in ascending order.
    pub(super) ranges: Vec<Range<u64>>,
    /// True if the last group is among them, which proves the size.
    pub(super) has_end: bool,
}

/// The end of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything is in the store.
    Complete,
    /// The provider does not have the range.
    Lacks,
    /// The provider denied access.
    Refused,
    /// The connection broke.
    Broken,
    /// The provider sent false data.
    FalseData,
}

/// An effect that the caller performs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Connect(NodeId),
    /// Fetch the last group, which proves the size, and the first if the provider has it.
    Probe {
        node: NodeId,
        first: bool,
    },
    /// Ask which ranges it has.
    QueryRanges(NodeId),
    /// Fetch a range for a task.
    Fetch {
        node: NodeId,
        task: u64,
        range: Range<u64>,
    },
    /// Cancel a task: others have it, or the provider is dropped.
    Cancel {
        node: NodeId,
        task: Option<u64>,
    },
    Drop(NodeId, ProviderGone),
    /// Nothing is missing.
    Complete,
    /// No provider is left.
    Starved,
}

#[derive(Debug)]
pub(super) struct Plan {
    rules: Rules,
    providers: BTreeMap<NodeId, Provider>,
    /// Sent false data or denied access: never offered again.
    banned: BTreeSet<NodeId>,
    /// `None` until the size is proven.
    tasks: Option<Tasks>,
    tick_at: Time,
    is_complete: bool,
}

impl Plan {
    pub(super) fn new(now: Time, rules: Rules) -> Self {
        Self {
            rules,
            providers: BTreeMap::new(),
            banned: BTreeSet::new(),
            tasks: None,
            tick_at: now.after_ms(rules.tick_ms),
            is_complete: false,
        }
    }

    /// Returns the time at which [`Self::step`] needs the next [`Input::Tick`].
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.is_complete).then_some(self.tick_at)
    }

    /// Returns the number of bytes that are not verified yet; `None` before the size is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.tasks.as_ref().map(Tasks::left)
    }

    /// Returns each provider's verified bytes and rate.
    pub(super) fn rates(&self) -> impl Iterator<Item = (NodeId, u64, u64)> {
        self.providers
            .iter()
            .map(|(&node, provider)| (node, provider.delivered, provider.per_s))
    }

    pub(super) fn step(&mut self, now: Time, input: Input, todo: &mut Vec<Effect>) {
        if self.is_complete {
            return;
        }
        let asked = self.providers.len();
        match input {
            Input::Offer(node) => self.offered(now, node, todo),
            Input::Connected(node) => {
                if let Some(provider) = self.providers.get_mut(&node) {
                    provider.state = State::Ready;
                    provider.since = now;
                    provider.heard = now;
                }
            }
            Input::Unreachable(node) => self.failed(now, node, todo),
            Input::Proven { node, bytes } => self.proven(now, node, bytes),
            Input::Sized(missing) => self.sized(&missing, todo),
            Input::Verified { node, task, to } => self.verified(now, node, task, to),
            Input::Ended { node, task, how } => self.ended(now, node, task, how, todo),
            Input::Has { node, part } => self.has(node, part, todo),
            Input::Tick => self.tick(now, todo),
        }
        if self.tasks.as_ref().is_some_and(Tasks::is_empty) {
            self.is_complete = true;
            todo.push(Effect::Complete);
            return;
        }
        self.assign(now, todo);
        if asked > 0 && self.providers.is_empty() {
            todo.push(Effect::Starved);
        }
    }

    fn offered(&mut self, now: Time, node: NodeId, todo: &mut Vec<Effect>) {
        if !self.banned.contains(&node) && !self.providers.contains_key(&node) {
            self.providers.insert(node, Provider::new(now));
            todo.push(Effect::Connect(node));
        }
    }

    fn proven(&mut self, now: Time, node: NodeId, bytes: u64) {
        if let Some(provider) = self.providers.get_mut(&node) {
            provider.probing = None;
            provider.heard = now;
            provider.count(bytes);
        }
    }

    fn sized(&mut self, missing: &[Range<u64>], todo: &mut Vec<Effect>) {
        if self.tasks.is_some() {
            return;
        }
        let total: u64 = missing.iter().map(|range| range.end - range.start).sum();
        // Small blobs are cut finer, so that every provider gets a share.
        let bytes = match total < 8 * self.rules.task_bytes {
            true => self.rules.task_bytes / 4,
            false => self.rules.task_bytes,
        };
        self.tasks = Some(Tasks::cut(missing, bytes));
        for (&node, provider) in &mut self.providers {
            if provider.probing.take().is_some() {
                todo.push(Effect::Cancel { node, task: None });
            }
        }
    }

    fn verified(&mut self, now: Time, node: NodeId, task: u64, to: u64) {
        let Some(provider) = self.providers.get_mut(&node) else {
            return;
        };
        provider.delivers(now, task, to);
        if let Some(tasks) = &mut self.tasks {
            tasks.verified(task, to);
        }
    }

    fn has(&mut self, node: NodeId, part: Option<Part>, todo: &mut Vec<Effect>) {
        let Some(provider) = self.providers.get_mut(&node) else {
            return;
        };
        provider.reply(part);
        if provider.is_empty() {
            self.drop_provider(node, ProviderGone::Empty, todo);
        }
    }

    fn ended(&mut self, now: Time, node: NodeId, task: Option<u64>, how: Ended, todo: &mut Vec<Effect>) {
        let Some(provider) = self.providers.get_mut(&node) else {
            return;
        };
        let known = match task {
            Some(task) => provider.running.remove(&task).is_some(),
            None => provider.probing.take().is_some(),
        };
        if !known {
            return; // Cancelled, and ended before the cancellation.
        }
        provider.heard = now;
        match (how, task) {
            (Ended::Complete, Some(task)) => {
                provider.failures = 0;
                self.completed(node, task, todo);
            }
            (Ended::Complete, None) => unreachable!("a proof that is made is told as such"),
            (Ended::Lacks, _) => {
                provider.lacked(task, now.after_ms(self.rules.lacks_ms));
                if provider.is_empty() {
                    self.drop_provider(node, ProviderGone::Empty, todo);
                } else {
                    self.query_ranges(now, node, todo);
                }
            }
            (Ended::Refused, _) => self.drop_provider(node, ProviderGone::Refused, todo),
            (Ended::FalseData, _) => self.drop_provider(node, ProviderGone::FalseData, todo),
            (Ended::Broken, _) => self.failed(now, node, todo),
        }
        if let Some(task) = task {
            self.release(node, task);
        }
    }

    fn completed(&mut self, node: NodeId, name: u64, todo: &mut Vec<Effect>) {
        let Some(tasks) = &mut self.tasks else { return };
        for other in tasks.complete(name).into_iter().filter(|other| *other != node) {
            if let Some(provider) = self.providers.get_mut(&other) {
                provider.running.remove(&name);
            }
            todo.push(Effect::Cancel {
                node: other,
                task: Some(name),
            });
        }
    }

    fn release(&mut self, node: NodeId, name: u64) {
        if let Some(tasks) = &mut self.tasks {
            let providers = &self.providers;
            tasks.release(node, name, |node| {
                providers.get(node).is_none_or(|provider| provider.is_silent)
            });
        }
    }

    /// Asks a provider which ranges it has, unless a query is under way.
    fn query_ranges(&mut self, now: Time, node: NodeId, todo: &mut Vec<Effect>) {
        if let Some(provider) = self.providers.get_mut(&node)
            && !provider.is_queried
        {
            provider.is_queried = true;
            provider.queried_at = Some(now);
            todo.push(Effect::QueryRanges(node));
        }
    }

    /// A connection attempt failed, or a connection broke: retry later, a few times.
    fn failed(&mut self, now: Time, node: NodeId, todo: &mut Vec<Effect>) {
        let Some(provider) = self.providers.get_mut(&node) else {
            return;
        };
        if matches!(provider.state, State::Waiting(_)) {
            return; // A broken connection ends all its tasks, but counts once.
        }
        provider.failures += 1;
        if provider.failures > Provider::FAILURES_MAX {
            return self.drop_provider(node, ProviderGone::Unreachable, todo);
        }
        provider.state = State::Waiting(now.after_ms(100 << provider.failures));
        self.cancel_all(node, todo);
    }

    fn cancel_all(&mut self, node: NodeId, todo: &mut Vec<Effect>) {
        let Some(provider) = self.providers.get_mut(&node) else {
            return;
        };
        if provider.probing.take().is_some() {
            todo.push(Effect::Cancel { node, task: None });
        }
        for task in std::mem::take(&mut provider.running).into_keys() {
            todo.push(Effect::Cancel { node, task: Some(task) });
            self.release(node, task);
        }
    }

    fn drop_provider(&mut self, node: NodeId, why: ProviderGone, todo: &mut Vec<Effect>) {
        if matches!(why, ProviderGone::FalseData | ProviderGone::Refused) {
            self.banned.insert(node);
        }
        self.cancel_all(node, todo);
        self.providers.remove(&node);
        todo.push(Effect::Drop(node, why));
    }
}
