//! Who fetches which range of one blob, and when. Pure; told the time.
//!
//! First one provider proves the size. Then the missing ranges are cut into tasks; each provider has two to four of them
//! under way, more where it is fast. Who is silent for a second sees its tasks given to others as well; who stays silent
//! or gives less than a tenth of the median is dropped. Near the end idle providers double the tasks that would be last.
//! Who has only a part is asked which, and given what lies in it.

mod assign;
mod judge;
mod provider;
mod tasks;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use protocol::{NodeId, Time};

use super::ProviderGone;
use provider::{Provider, State};
use tasks::{Task, Tasks};

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
    /// So often who has a part is asked whether it is more by now.
    pub(super) look_ms: u64,
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
            look_ms: 2_000,
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
    /// This node proved the size, with so many bytes of the blob.
    Proven { node: NodeId, bytes: u64 },
    /// The size is proven, and these ranges are missing; they are whole groups but for the last.
    Sized(Vec<Range<u64>>),
    /// The ranges up to `to` of a task are verified and on their way into the store.
    Verified { node: NodeId, task: u64, to: u64 },
    /// A task came to an end; or where there is none the proof of the size, in vain.
    Ended {
        node: NodeId,
        task: Option<u64>,
        how: Ended,
    },
    /// It says which part it has; `None` if it does not say.
    Has { node: NodeId, part: Option<Part> },
    /// Time has passed.
    Tick,
}

/// What a provider says that it has. Nothing proves it, and a false word costs a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Whole groups, in order.
    pub(super) ranges: Vec<Range<u64>>,
    /// Whether the last group is among them, which proves the size.
    pub(super) has_end: bool,
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
    /// Fetch the last group, which proves the size, and the first if the provider has it.
    Probe {
        node: NodeId,
        first: bool,
    },
    /// Ask which part it has.
    Look(NodeId),
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

#[derive(Debug)]
pub(super) struct Plan {
    rules: Rules,
    providers: BTreeMap<NodeId, Provider>,
    /// Lied or refused: not to be offered again.
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

    /// When [`Self::step`] next wants a [`Input::Tick`].
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.is_complete).then_some(self.tick_at)
    }

    /// Bytes that are not yet verified; `None` while the size is unknown.
    pub(super) fn left(&self) -> Option<u64> {
        self.tasks.as_ref().map(Tasks::left)
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
            provider.gives(bytes);
        }
    }

    fn sized(&mut self, missing: &[Range<u64>], todo: &mut Vec<Effect>) {
        if self.tasks.is_some() {
            return;
        }
        let total: u64 = missing.iter().map(|range| range.end - range.start).sum();
        // Small blobs are cut finer, so that every provider has its part.
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
        provider.says(part);
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
            return; // It was cancelled, and ended before it heard of that.
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
                    self.look(now, node, todo);
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

    /// Asks a provider which part it has, unless it is being asked.
    fn look(&mut self, now: Time, node: NodeId, todo: &mut Vec<Effect>) {
        if let Some(provider) = self.providers.get_mut(&node)
            && !provider.is_looked_at
        {
            provider.is_looked_at = true;
            provider.looked = Some(now);
            todo.push(Effect::Look(node));
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
}
