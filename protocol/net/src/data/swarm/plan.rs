//! Who fetches which range of one blob, and when. Pure; told the time.
//!
//! First one provider proves the size. Then the missing ranges are cut into tasks; each provider has two to four of them
//! under way, more where it is fast. Who is silent for a second sees its tasks given to others as well; who stays silent
//! or gives less than a tenth of the median is dropped. Near the end idle providers double the tasks that would be last.

mod provider;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use protocol::{NodeId, Time};

use super::ProviderGone;
use provider::{Provider, State};

/// What a plan goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) task_bytes: u64,
    pub(super) tick_ms: u64,
    /// After so long without a byte a provider's tasks are given to others, too.
    pub(super) silent_ms: u64,
    /// After so long it is dropped.
    pub(super) stalled_ms: u64,
    /// A provider is not judged slow before.
    pub(super) slow_after_ms: u64,
    /// After so long a provider is asked again for what it lacked.
    pub(super) lacks_ms: u64,
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
        }
    }
}

/// What the plan is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// This node is said to have the blob.
    Offer(NodeId),
    /// It answered our call.
    Connected(NodeId),
    /// It did not.
    Unreachable(NodeId),
    /// The size is proven, and these ranges are missing; they are whole groups but for the last.
    Sized(Vec<Range<u64>>),
    /// The ranges up to `to` of a task are verified and on their way into the store.
    Verified { node: NodeId, task: u64, to: u64 },
    /// A task, or the proof of the size where there is none, came to an end.
    Ended {
        node: NodeId,
        task: Option<u64>,
        how: Ended,
    },
    /// Time has passed.
    Tick,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All of it is in the store.
    Complete,
    /// The provider does not have this range.
    Lacks,
    /// The provider does not let us have it.
    Refused,
    /// The connection broke.
    Broken,
    /// The provider sent what is not so.
    Lied,
}

/// What should happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Connect(NodeId),
    /// Fetch the first and the last group, which proves the size.
    Probe(NodeId),
    /// Fetch a range for a task.
    Fetch {
        node: NodeId,
        task: u64,
        range: Range<u64>,
    },
    /// Others have it, or the provider is dropped.
    Cancel {
        node: NodeId,
        task: Option<u64>,
    },
    Drop(NodeId, ProviderGone),
    /// Nothing is missing.
    Complete,
    /// Nobody is left to ask.
    Starved,
}

/// A range that is missing. Its name is where it began.
#[derive(Debug)]
struct Task {
    /// Verified up to here.
    at: u64,
    end: u64,
    runners: BTreeSet<NodeId>,
}

impl Task {
    fn left(&self) -> u64 {
        self.end - self.at
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    rules: Rules,
    providers: BTreeMap<NodeId, Provider>,
    /// Lied or refused: not to be offered again.
    banned: BTreeSet<NodeId>,
    /// `None` until the size is proven.
    tasks: Option<BTreeMap<u64, Task>>,
    /// Tasks that nobody is at, or only who is silent.
    open: BTreeSet<u64>,
    total: u64,
    left: u64,
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
            open: BTreeSet::new(),
            total: 0,
            left: 0,
            tick_at: now.after_ms(rules.tick_ms),
            is_complete: false,
        }
    }

    /// When [`Self::step`] next wants a [`Input::Tick`].
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.is_complete).then_some(self.tick_at)
    }

    /// Bytes that are not yet verified; `None` while the size is unknown.
    pub(super) fn left(&self) -> Option<u64> {
        self.tasks.as_ref().map(|_| self.left)
    }

    /// What each provider has given, and its rate.
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
            Input::Sized(missing) => self.sized(&missing, todo),
            Input::Verified { node, task, to } => self.verified(now, node, task, to),
            Input::Ended { node, task, how } => self.ended(now, node, task, how, todo),
            Input::Tick => self.tick(now, todo),
        }
        if self.tasks.as_ref().is_some_and(BTreeMap::is_empty) {
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

    fn sized(&mut self, missing: &[Range<u64>], todo: &mut Vec<Effect>) {
        if self.tasks.is_some() {
            return;
        }
        self.total = missing.iter().map(|range| range.end - range.start).sum();
        self.left = self.total;
        // Small blobs are cut finer, so that every provider has its part.
        let step = if self.total < 8 * self.rules.task_bytes {
            self.rules.task_bytes / 4
        } else {
            self.rules.task_bytes
        };
        let mut tasks = BTreeMap::new();
        for range in missing {
            let mut at = range.start;
            while at < range.end {
                let end = (at / step + 1).saturating_mul(step).min(range.end);
                tasks.insert(
                    at,
                    Task {
                        at,
                        end,
                        runners: BTreeSet::new(),
                    },
                );
                at = end;
            }
        }
        self.open = tasks.keys().copied().collect();
        self.tasks = Some(tasks);
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
        let Some(task) = self.tasks.as_mut().and_then(|tasks| tasks.get_mut(&task)) else {
            return;
        };
        let to = to.min(task.end);
        if to > task.at {
            self.left -= to - task.at;
            task.at = to;
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
            return; // It was cancelled, and ended before it heard of that.
        }
        provider.heard = now;
        match (how, task) {
            (Ended::Complete, Some(task)) => {
                provider.failures = 0;
                self.completed(node, task, todo);
            }
            (Ended::Complete, None) => (),
            (Ended::Lacks, _) => {
                provider.barren += 1;
                if provider.delivered == 0 && provider.barren >= 3 {
                    self.drop_provider(node, ProviderGone::Empty, todo);
                } else {
                    let again = now.after_ms(self.rules.lacks_ms);
                    match task {
                        Some(task) => drop(provider.lacks.insert(task, again)),
                        None => provider.state = State::Waiting(again),
                    }
                }
            }
            (Ended::Refused, _) => self.drop_provider(node, ProviderGone::Refused, todo),
            (Ended::Lied, _) => self.drop_provider(node, ProviderGone::Lied, todo),
            (Ended::Broken, _) => self.failed(now, node, todo),
        }
        if let Some(task) = task {
            self.release(node, task);
        }
    }

    fn completed(&mut self, node: NodeId, name: u64, todo: &mut Vec<Effect>) {
        let Some(task) = self.tasks.as_mut().and_then(|tasks| tasks.remove(&name)) else {
            return;
        };
        self.left -= task.left();
        self.open.remove(&name);
        for other in task.runners.into_iter().filter(|other| *other != node) {
            if let Some(provider) = self.providers.get_mut(&other) {
                provider.running.remove(&name);
            }
            todo.push(Effect::Cancel {
                node: other,
                task: Some(name),
            });
        }
    }

    /// `node` is no longer at a task; it is open again if nobody else is who can be heard.
    fn release(&mut self, node: NodeId, name: u64) {
        let Some(task) = self.tasks.as_mut().and_then(|tasks| tasks.get_mut(&name)) else {
            return;
        };
        task.runners.remove(&node);
        let providers = &self.providers;
        let is_silent = |node| providers.get(node).is_none_or(|provider| provider.is_silent);
        if task.runners.iter().all(is_silent) {
            self.open.insert(name);
        }
    }

    /// A call was in vain, or a connection broke: again in a while, a few times.
    fn failed(&mut self, now: Time, node: NodeId, todo: &mut Vec<Effect>) {
        let Some(provider) = self.providers.get_mut(&node) else {
            return;
        };
        if matches!(provider.state, State::Waiting(_)) {
            return; // One break ends every task of the connection; it counts once.
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
        if matches!(why, ProviderGone::Lied | ProviderGone::Refused) {
            self.banned.insert(node);
        }
        self.cancel_all(node, todo);
        self.providers.remove(&node);
        todo.push(Effect::Drop(node, why));
    }

    fn tick(&mut self, now: Time, todo: &mut Vec<Effect>) {
        if now < self.tick_at {
            return;
        }
        let passed = now.since(self.tick_at).as_millis() + u128::from(self.rules.tick_ms);
        self.tick_at = now.after_ms(self.rules.tick_ms);
        let median = self.median();
        for node in self.providers.keys().copied().collect::<Vec<_>>() {
            let others = self.providers.values().filter(|other| other.is_well()).count();
            let Some(provider) = self.providers.get_mut(&node) else {
                continue;
            };
            provider.measure(passed);
            provider.lacks.retain(|_, again| now < *again);
            if let State::Waiting(until) = provider.state {
                if until <= now {
                    provider.state = State::Connecting;
                    todo.push(Effect::Connect(node));
                }
                continue;
            }
            if provider.is_silent && provider.running.is_empty() {
                // Others did what it had not. It may begin anew, with an eye on it.
                provider.is_silent = false;
                self.failed(now, node, todo);
            } else if provider.silent_for(now) >= self.rules.stalled_ms {
                match others {
                    0 => self.failed(now, node, todo),
                    _ => self.drop_provider(node, ProviderGone::Stalled, todo),
                }
            } else if provider.silent_for(now) >= self.rules.silent_ms {
                provider.is_silent = true;
                self.open.extend(provider.running.keys());
            } else if provider.is_slow(now, self.rules.slow_after_ms, median) && others > 1 {
                self.drop_provider(node, ProviderGone::Slow, todo);
            }
        }
    }

    fn median(&self) -> u64 {
        let mut rates: Vec<_> = self
            .providers
            .values()
            .map(|p| p.per_s)
            .filter(|per_s| *per_s > 0)
            .collect();
        rates.sort_unstable();
        rates.get(rates.len() / 2).copied().unwrap_or(0)
    }

    /// Gives whoever has room something to do, in turns, so that all begin.
    fn assign(&mut self, now: Time, todo: &mut Vec<Effect>) {
        if self.tasks.is_none() {
            return self.assign_probe(now, todo);
        }
        loop {
            let mut free: Vec<_> = self
                .providers
                .iter()
                .filter(|(_, provider)| provider.has_room())
                .map(|(&node, provider)| (provider.running.len(), u64::MAX - provider.per_s, node))
                .collect();
            free.sort_unstable();
            let given = free
                .into_iter()
                .filter(|&(_, _, node)| self.give(now, node, todo))
                .count();
            if given == 0 {
                return;
            }
        }
    }

    fn assign_probe(&mut self, now: Time, todo: &mut Vec<Effect>) {
        let fresh = |provider: &Provider| {
            let since = provider.probing.map(|at| now.since(at).as_millis());
            since.is_some_and(|ms| ms < u128::from(self.rules.silent_ms))
        };
        if self.providers.values().any(fresh) {
            return;
        }
        let next = self
            .providers
            .iter_mut()
            .find(|(_, provider)| provider.has_room() && provider.probing.is_none());
        if let Some((&node, provider)) = next {
            provider.probing = Some(now);
            provider.heard = now;
            todo.push(Effect::Probe(node));
        }
    }

    /// One more task for `node`: one that is open, or near the end one that somebody else would finish much later.
    fn give(&mut self, now: Time, node: NodeId, todo: &mut Vec<Effect>) -> bool {
        let Some(name) = self.next_open(node).or_else(|| self.last_to_end(node)) else {
            return false;
        };
        let (Some(tasks), Some(provider)) = (self.tasks.as_mut(), self.providers.get_mut(&node)) else {
            return false;
        };
        let Some(task) = tasks.get_mut(&name) else { return false };
        if provider.running.is_empty() {
            provider.heard = now; // Until now there was nothing to be heard.
        }
        provider.running.insert(name, task.at);
        task.runners.insert(node);
        self.open.remove(&name);
        todo.push(Effect::Fetch {
            node,
            task: name,
            range: task.at..task.end,
        });
        true
    }

    fn next_open(&self, node: NodeId) -> Option<u64> {
        let provider = self.providers.get(&node)?;
        self.open.iter().copied().find(|name| provider.could_take(*name))
    }

    fn last_to_end(&self, node: NodeId) -> Option<u64> {
        if self.left.saturating_mul(5) > self.total {
            return None;
        }
        let me = self.providers.get(&node)?;
        let latest = |(name, task): (&u64, &Task)| {
            let runner = match task.runners.len() {
                1 => self.providers.get(task.runners.first()?)?,
                _ => return None, // Doubled once is enough.
            };
            let (theirs, mine) = (runner.ends_in_ms(task.left(), 0), me.ends_in_ms(task.left(), 1));
            (me.could_take(*name) && theirs > mine.saturating_mul(2)).then_some((theirs, *name))
        };
        let tasks = self.tasks.as_ref()?;
        tasks.iter().filter_map(latest).max().map(|(_, name)| name)
    }
}
