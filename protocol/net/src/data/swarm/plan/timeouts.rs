//! Periodic checks of the providers: silent, stalled, slow, or perhaps with more ranges than before.

use protocol::Time;

use super::{Effect, Plan, State};
use crate::data::ProviderGone;

impl Plan {
    pub(super) fn tick(&mut self, now: Time, todo: &mut Vec<Effect>) {
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
                // Others did its tasks. Reconnect, and keep watching it.
                provider.is_silent = false;
                self.failed(now, node, todo);
            } else if provider.silent_for(now) >= self.rules.stalled_ms {
                match others {
                    0 => self.failed(now, node, todo),
                    _ => self.drop_provider(node, ProviderGone::Stalled, todo),
                }
            } else if provider.silent_for(now) >= self.rules.silent_ms {
                provider.is_silent = true;
                if let Some(tasks) = &mut self.tasks {
                    tasks.reopen(provider.running.keys());
                }
            } else if provider.is_slow(now, self.rules.slow_after_ms, median) && others > 1 {
                self.drop_provider(node, ProviderGone::Slow, todo);
            } else if provider.may_have_more(now, self.rules.query_ms) {
                self.query_ranges(now, node, todo);
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
}
