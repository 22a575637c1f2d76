//! Assignment of tasks to providers.

use std::ops::Range;

use protocol::{NodeId, Time};

use super::{Effect, Plan, Provider, Task};

impl Plan {
    /// Gives tasks to every provider with capacity, in turns, so that all start.
    pub(super) fn assign(&mut self, now: Time, todo: &mut Vec<Effect>) {
        if self.tasks.is_none() {
            return self.assign_probe(now, todo);
        }
        loop {
            let mut free: Vec<_> = self
                .providers
                .iter()
                .filter(|(_, provider)| provider.has_capacity())
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
            .find(|(_, provider)| provider.has_capacity() && provider.probing.is_none() && provider.could_prove());
        if let Some((&node, provider)) = next {
            provider.probing = Some(now);
            provider.heard = now;
            let first = provider.has_start();
            todo.push(Effect::Probe { node, first });
        }
    }

    /// Starts one more task on `node`: an open one, or near the end one that its provider would finish much later.
    fn give(&mut self, now: Time, node: NodeId, todo: &mut Vec<Effect>) -> bool {
        let Some(name) = self.next_open(node).or_else(|| self.last_to_end(node)) else {
            return false;
        };
        let (Some(tasks), Some(provider)) = (self.tasks.as_mut(), self.providers.get_mut(&node)) else {
            return false;
        };
        let Some(range) = tasks.begin(name, node) else {
            return false;
        };
        if provider.running.is_empty() {
            provider.heard = now; // It was idle until now, so it was not silent.
        }
        provider.running.insert(name, range.start);
        todo.push(Effect::Fetch {
            node,
            task: name,
            range,
        });
        true
    }

    /// Returns an open task of which `node` has any part, narrowed to that part: the rarest one if some providers have
    /// only parts, else the first.
    fn next_open(&mut self, node: NodeId) -> Option<u64> {
        let (tasks, provider) = (self.tasks.as_mut()?, self.providers.get(&node)?);
        let fits = |(name, task): (u64, &Task)| {
            let part = provider.part_of(&task.range())?;
            let is_free = part == task.range() || task.runners.is_empty();
            (is_free && provider.could_take(name)).then_some((name, part))
        };
        let owners = |part: &Range<u64>| {
            let has_it = |other: &&Provider| other.is_well() && other.part_of(part).as_ref() == Some(part);
            self.providers.values().filter(has_it).count()
        };
        let found = match self.providers.values().any(Provider::has_a_part) {
            true => tasks
                .open()
                .filter_map(fits)
                .min_by_key(|(name, part)| (owners(part), *name)),
            false => tasks.open().find_map(fits),
        };
        let (name, part) = found?;
        Some(tasks.narrow(name, &part))
    }

    fn last_to_end(&self, node: NodeId) -> Option<u64> {
        let tasks = self.tasks.as_ref().filter(|tasks| tasks.is_near_the_end())?;
        let me = self.providers.get(&node)?;
        let latest = |(name, task): (u64, &Task)| {
            let runner = match task.runners.len() {
                1 => self.providers.get(task.runners.first()?)?,
                _ => return None, // One duplicate is enough.
            };
            let has_it = me.part_of(&task.range()) == Some(task.range());
            let (theirs, mine) = (runner.ends_in_ms(task.left(), 0), me.ends_in_ms(task.left(), 1));
            (has_it && me.could_take(name) && theirs > mine.saturating_mul(2)).then_some((theirs, name))
        };
        tasks.iter().filter_map(latest).max().map(|(_, name)| name)
    }
}
