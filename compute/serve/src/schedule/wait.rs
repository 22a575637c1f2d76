//! Waiting requests: for their adapters (cold), then for room (ready).

use protocol::Time;

use super::{
    AdapterInfo, AdapterKey, Effect, FetchState, Finish, Refusal, RequestId, ScheduleRequest, Scheduler, Stage,
};

impl Scheduler {
    /// Checks that the request can be served at all and may wait. Caps its length at what the device holds.
    pub(super) fn admit(&self, request: &mut ScheduleRequest) -> Result<(), Refusal> {
        let positions = self
            .shape
            .context_tokens_max
            .min(self.pages.total() * self.shape.page_tokens);
        let prompt = request.prompt.len();
        if prompt == 0 {
            return Err(Refusal::EmptyPrompt);
        }
        if prompt + usize::from(request.tokens_max > 0) > positions {
            return Err(Refusal::PromptTooLong {
                tokens: prompt,
                most: positions - 1,
            });
        }
        if request.adapters.len() > self.limits.mix_max {
            return Err(Refusal::TooManyAdapters {
                most: self.limits.mix_max,
            });
        }
        let room = u32::try_from(positions - prompt).unwrap_or(u32::MAX);
        request.tokens_max = request.tokens_max.min(room);
        let waiting = self.tenants.ready() + self.tenants.cold();
        let own = self.tenants.waiting(&request.tenant);
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

    /// Queues a request: as ready if its adapters are loaded, else as cold.
    pub(super) fn enqueue(&mut self, request: RequestId) {
        let sequence = self.sequences.get_mut(&request).expect("who waits asked");
        let mut stage = Stage::Ready;
        for (adapter, _) in &sequence.request.adapters {
            let held = self.wanted_adapters.entry(*adapter).or_default();
            held.wanted_by.insert(request);
            if self.slots.info(*adapter).is_none() && !matches!(held.fetch, FetchState::Loaded(_)) {
                stage = Stage::Cold;
                self.fetch_due |= held.fetch == FetchState::NotRequested;
            }
        }
        sequence.stage = stage;
        self.tenants
            .enqueue(&sequence.request.tenant, sequence.order, request, stage == Stage::Ready);
    }

    /// Removes a waiting request from its queue, and drops adapters that no other request waits for.
    pub(super) fn dequeue(&mut self, request: RequestId, todo: &mut Vec<Effect>) {
        let sequence = &self.sequences[&request];
        self.tenants.dequeue(&sequence.request.tenant, sequence.order);
        if self.head_of_line == Some(request) {
            self.head_of_line = None;
        }
        for (adapter, _) in &sequence.request.adapters {
            // A mix may name an adapter twice.
            let Some(held) = self.wanted_adapters.get_mut(adapter) else {
                continue;
            };
            held.wanted_by.remove(&request);
            if held.wanted_by.is_empty() {
                match held.fetch {
                    FetchState::Loaded(_) => todo.push(Effect::Drop(*adapter)),
                    FetchState::Requested => self.fetching -= 1,
                    FetchState::NotRequested => (),
                }
                self.wanted_adapters.remove(adapter);
                self.fetch_due |= self.tenants.cold() > 0;
            }
        }
    }

    /// Requests adapters of cold requests, within [`Limits::fetched_max`](super::Limits::fetched_max), the least served tenant's first.
    pub(super) fn fetch(&mut self, todo: &mut Vec<Effect>) {
        let stuck = self.is_stuck();
        if !std::mem::take(&mut self.fetch_due) && !stuck {
            return;
        }
        let held = self
            .wanted_adapters
            .values()
            .filter(|held| held.fetch != FetchState::NotRequested)
            .count();
        let room = self.limits.fetched_max.saturating_sub(held);
        let mut room = if stuck { room.max(self.limits.mix_max) } else { room };
        if room == 0 {
            return;
        }
        for request in self.tenants.cold_least_served_first() {
            for (adapter, _) in &self.sequences[&request].request.adapters {
                if room == 0 {
                    return;
                }
                let held = self
                    .wanted_adapters
                    .get_mut(adapter)
                    .expect("who waits holds its adapters");
                if held.fetch == FetchState::NotRequested && self.slots.info(*adapter).is_none() {
                    held.fetch = FetchState::Requested;
                    self.fetching += 1;
                    room -= 1;
                    todo.push(Effect::Fetch(*adapter));
                }
            }
        }
    }

    /// Returns true if all requests wait for adapters and none is being loaded: adapters of several mixes fill the bound, and
    /// none is complete. Then the first mix may exceed it.
    pub(super) fn is_stuck(&self) -> bool {
        self.tenants.cold() > 0 && self.tenants.ready() == 0 && self.running.is_empty() && self.fetching == 0
    }

    pub(super) fn fetched(&mut self, adapter: AdapterKey, result: Result<AdapterInfo, String>, todo: &mut Vec<Effect>) {
        let Some(held) = self
            .wanted_adapters
            .get_mut(&adapter)
            .filter(|held| held.fetch == FetchState::Requested)
        else {
            // No request needs it any more; or one asked again since and has it, and then this is the same adapter.
            let here = self
                .wanted_adapters
                .get(&adapter)
                .is_some_and(|held| held.fetch != FetchState::NotRequested);
            if result.is_ok() && !here {
                todo.push(Effect::Drop(adapter));
            }
            return;
        };
        self.fetching -= 1;
        let result = result.and_then(|info| match info.bytes > self.limits.slot_bytes {
            true => Err(format!(
                "the adapter takes {} bytes, the device holds {} of adapters",
                info.bytes, self.limits.slot_bytes
            )),
            false => Ok(info),
        });
        let wanted_by: Vec<RequestId> = held.wanted_by.iter().copied().collect();
        match result {
            Ok(info) => {
                held.fetch = FetchState::Loaded(info);
                for request in wanted_by {
                    self.promote_if_loaded(request);
                }
            }
            Err(why) => {
                held.fetch = FetchState::NotRequested;
                for request in wanted_by {
                    self.refuse(request, Refusal::Adapter(why.clone()), todo);
                }
            }
        }
    }

    /// Marks a cold request ready if all its adapters are loaded.
    pub(super) fn promote_if_loaded(&mut self, request: RequestId) {
        let sequence = self.sequences.get_mut(&request).expect("who wants an adapter asked");
        let there = |adapter: &AdapterKey| {
            matches!(self.wanted_adapters[adapter].fetch, FetchState::Loaded(_)) || self.slots.info(*adapter).is_some()
        };
        if sequence.stage == Stage::Cold && sequence.request.adapters.iter().all(|(adapter, _)| there(adapter)) {
            sequence.stage = Stage::Ready;
            self.tenants.mark_ready(&sequence.request.tenant, sequence.order);
        }
    }

    /// Refuses requests that waited too long for their first step.
    pub(super) fn expire(&mut self, now: Time, todo: &mut Vec<Effect>) {
        while let Some((since, request)) = self.waiting_since.values().next().copied() {
            if now < since.after_ms(self.limits.waiting_ms_max) {
                return;
            }
            let waited_ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
            self.refuse(request, Refusal::Waited { waited_ms }, todo);
        }
    }

    /// Refuses a waiting request. One that was preempted in the middle of a completion fails instead.
    pub(super) fn refuse(&mut self, request: RequestId, refusal: Refusal, todo: &mut Vec<Effect>) {
        self.dequeue(request, todo);
        let sequence = self.sequences.remove(&request).expect("who waits asked");
        self.waiting_since.remove(&sequence.order);
        todo.push(match sequence.cached {
            None => Effect::Refused(request, refusal),
            Some(_) => Effect::Finished(request, Finish::Failed(refusal.to_string()), sequence.usage()),
        });
    }

    /// Marks a ready request cold if one of its adapters is neither in a slot nor in host memory any more.
    pub(super) fn demote_if_unloaded(&mut self, request: RequestId) -> bool {
        let sequence = self.sequences.get_mut(&request).expect("named by the caller");
        let gone = |adapter: &AdapterKey| {
            !matches!(self.wanted_adapters[adapter].fetch, FetchState::Loaded(_)) && self.slots.info(*adapter).is_none()
        };
        let cold = sequence.stage == Stage::Ready && sequence.request.adapters.iter().any(|(adapter, _)| gone(adapter));
        if cold {
            sequence.stage = Stage::Cold;
            if self.head_of_line == Some(request) {
                self.head_of_line = None;
            }
            self.tenants.mark_cold(&sequence.request.tenant, sequence.order);
            self.fetch_due = true;
        }
        cold
    }
}
