//! Those who wait: for their adapters, then for room.

use protocol::Time;

use super::{AdapterKey, Ask, Effect, Facts, Fetch, Finish, Refusal, RequestId, Scheduler, Stage};

impl Scheduler {
    /// Whether the request can be served at all, and there is room to wait. Limits it to what the device holds.
    pub(super) fn admit(&self, ask: &mut Ask) -> Result<(), Refusal> {
        let positions = self
            .shape
            .context_tokens_max
            .min(self.pages.total() * self.shape.page_tokens);
        let prompt = ask.prompt.len();
        if prompt == 0 {
            return Err(Refusal::EmptyPrompt);
        }
        if prompt + usize::from(ask.tokens_max > 0) > positions {
            return Err(Refusal::PromptTooLong {
                tokens: prompt,
                most: positions - 1,
            });
        }
        if ask.adapters.len() > self.limits.mix_max {
            return Err(Refusal::TooManyAdapters {
                most: self.limits.mix_max,
            });
        }
        let room = u32::try_from(positions - prompt).unwrap_or(u32::MAX);
        ask.tokens_max = ask.tokens_max.min(room);
        let waiting = self.tenants.ready() + self.tenants.cold();
        let own = self.tenants.waiting(&ask.tenant);
        if waiting >= self.limits.waiting_max || own >= self.limits.waiting_per_tenant_max {
            let ahead = if waiting >= self.limits.waiting_max {
                waiting
            } else {
                own
            };
            let retry_after_ms = (ahead as u64 * self.ended.1 / 1000).clamp(250, 60_000);
            return Err(Refusal::Full {
                waiting: ahead,
                retry_after_ms,
            });
        }
        Ok(())
    }

    /// Queues a request that has no room: with the ready if its adapters are there, else with the cold.
    pub(super) fn wait(&mut self, request: RequestId) {
        let sequence = self.sequences.get_mut(&request).expect("who waits asked");
        let mut stage = Stage::Ready;
        for (adapter, _) in &sequence.ask.adapters {
            let held = self.held.entry(*adapter).or_default();
            held.wanted_by.insert(request);
            if self.slots.facts(*adapter).is_none() && !matches!(held.fetch, Fetch::Here(_)) {
                stage = Stage::Cold;
                self.fetch_due |= held.fetch == Fetch::Not;
            }
        }
        sequence.stage = stage;
        self.tenants
            .wait(&sequence.ask.tenant, sequence.order, request, stage == Stage::Ready);
    }

    /// Takes a waiting request out of its queue, and lets go of adapters that nobody else waits for.
    pub(super) fn unwait(&mut self, request: RequestId, todo: &mut Vec<Effect>) {
        let sequence = &self.sequences[&request];
        self.tenants.unwait(&sequence.ask.tenant, sequence.order);
        if self.first == Some(request) {
            self.first = None;
        }
        for (adapter, _) in &sequence.ask.adapters {
            // A mix may name an adapter twice.
            let Some(held) = self.held.get_mut(adapter) else {
                continue;
            };
            held.wanted_by.remove(&request);
            if held.wanted_by.is_empty() {
                match held.fetch {
                    Fetch::Here(_) => todo.push(Effect::Drop(*adapter)),
                    Fetch::Asked => self.fetching -= 1,
                    Fetch::Not => (),
                }
                self.held.remove(adapter);
                self.fetch_due |= self.tenants.cold() > 0;
            }
        }
    }

    /// Asks for adapters of those who wait, within the bound on what is held for them, the least served first.
    pub(super) fn fetch(&mut self, todo: &mut Vec<Effect>) {
        let stuck = self.is_stuck();
        if !std::mem::take(&mut self.fetch_due) && !stuck {
            return;
        }
        let held = self.held.values().filter(|held| held.fetch != Fetch::Not).count();
        let room = self.limits.fetched_max.saturating_sub(held);
        let mut room = if stuck { room.max(self.limits.mix_max) } else { room };
        if room == 0 {
            return;
        }
        for request in self.tenants.cold_in_turn() {
            for (adapter, _) in &self.sequences[&request].ask.adapters {
                if room == 0 {
                    return;
                }
                let held = self.held.get_mut(adapter).expect("who waits holds its adapters");
                if held.fetch == Fetch::Not && self.slots.facts(*adapter).is_none() {
                    held.fetch = Fetch::Asked;
                    self.fetching += 1;
                    room -= 1;
                    todo.push(Effect::Fetch(*adapter));
                }
            }
        }
    }

    /// Whether all wait for adapters and none is on its way: parts of several mixes fill what may be held. Then the first
    /// of them gets the rest of its own.
    pub(super) fn is_stuck(&self) -> bool {
        self.tenants.cold() > 0 && self.tenants.ready() == 0 && self.running.is_empty() && self.fetching == 0
    }

    pub(super) fn fetched(&mut self, adapter: AdapterKey, result: Result<Facts, String>, todo: &mut Vec<Effect>) {
        let Some(held) = self.held.get_mut(&adapter).filter(|held| held.fetch == Fetch::Asked) else {
            // Whoever wanted it has gone. If someone asked anew since and has it, this is the same.
            let here = self.held.get(&adapter).is_some_and(|held| held.fetch != Fetch::Not);
            if result.is_ok() && !here {
                todo.push(Effect::Drop(adapter));
            }
            return;
        };
        self.fetching -= 1;
        let result = result.and_then(|facts| match facts.bytes > self.limits.slot_bytes {
            true => Err(format!(
                "the adapter takes {} bytes, the device holds {} of adapters",
                facts.bytes, self.limits.slot_bytes
            )),
            false => Ok(facts),
        });
        let wanted_by: Vec<RequestId> = held.wanted_by.iter().copied().collect();
        match result {
            Ok(facts) => {
                held.fetch = Fetch::Here(facts);
                for request in wanted_by {
                    self.warm(request);
                }
            }
            Err(why) => {
                held.fetch = Fetch::Not;
                for request in wanted_by {
                    self.refuse(request, Refusal::Adapter(why.clone()), todo);
                }
            }
        }
    }

    /// Moves a cold request to the ready if all of its adapters are there.
    pub(super) fn warm(&mut self, request: RequestId) {
        let sequence = self.sequences.get_mut(&request).expect("who wants an adapter asked");
        let there = |adapter: &AdapterKey| {
            matches!(self.held[adapter].fetch, Fetch::Here(_)) || self.slots.facts(*adapter).is_some()
        };
        if sequence.stage == Stage::Cold && sequence.ask.adapters.iter().all(|(adapter, _)| there(adapter)) {
            sequence.stage = Stage::Ready;
            self.tenants.warm(&sequence.ask.tenant, sequence.order);
        }
    }

    /// Refuses who waited too long and never ran.
    pub(super) fn expire(&mut self, now: Time, todo: &mut Vec<Effect>) {
        while let Some((since, request)) = self.patience.values().next().copied() {
            if now < since.after_ms(self.limits.waiting_ms_max) {
                return;
            }
            let waited_ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
            self.refuse(request, Refusal::Waited { waited_ms }, todo);
        }
    }

    /// Refuses a request that waits; one that already answered in part is told that it failed.
    pub(super) fn refuse(&mut self, request: RequestId, refusal: Refusal, todo: &mut Vec<Effect>) {
        self.unwait(request, todo);
        let sequence = self.sequences.remove(&request).expect("who waits asked");
        self.patience.remove(&sequence.order);
        todo.push(match sequence.cached {
            None => Effect::Refused(request, refusal),
            Some(_) => Effect::Finished(request, Finish::Failed(refusal.to_string()), sequence.usage()),
        });
    }

    /// Moves a ready request to the cold if an adapter of it is neither in a slot nor in memory.
    pub(super) fn chill(&mut self, request: RequestId) -> bool {
        let sequence = self.sequences.get_mut(&request).expect("named by the caller");
        let gone = |adapter: &AdapterKey| {
            !matches!(self.held[adapter].fetch, Fetch::Here(_)) && self.slots.facts(*adapter).is_none()
        };
        let cold = sequence.stage == Stage::Ready && sequence.ask.adapters.iter().any(|(adapter, _)| gone(adapter));
        if cold {
            sequence.stage = Stage::Cold;
            if self.first == Some(request) {
                self.first = None;
            }
            self.tenants.chill(&sequence.ask.tenant, sequence.order);
            self.fetch_due = true;
        }
        cold
    }
}
