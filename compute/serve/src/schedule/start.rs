//! Starting a request: a row, slots for its adapters, and pages for its prompt, taken from whoever has more.

use std::collections::BTreeSet;

use compute::forward::AdapterSlot;

use super::{AdapterKey, Effect, Facts, Fetch, Refusal, RequestId, Scheduler, Stage, Tenant, pace::Mixture};

/// How often a ready request is passed before nobody starts in front of it.
const PASSED_MAX: u32 = 64;

/// What is left of a step.
pub(super) struct Budget {
    pub(super) tokens: usize,
    pub(super) rank_tokens: u64,
    pub(super) loads: usize,
    pub(super) adapters: BTreeSet<AdapterSlot>,
    /// Microseconds that prompts may add, and those of tenants who want more than they have beside others who do not.
    pub(super) stretch_us: f64,
    pub(super) greedy_us: f64,
    /// What is in the step.
    pub(super) mixture: Mixture,
}

/// What came of trying to start a request.
pub(super) enum Tried {
    Runs,
    /// This one does not fit now; another may.
    Skipped,
    /// None of this tenant's fits now.
    Closed,
}

impl Scheduler {
    /// Gives a ready request a row, slots and pages for its whole prompt.
    pub(super) fn start(&mut self, request: RequestId, budget: &mut Budget, todo: &mut Vec<Effect>) -> Tried {
        if self.chill(request) {
            return Tried::Skipped;
        }
        let tenant = self.sequences[&request].ask.tenant.clone();
        let rows = self.tenants.running(&tenant);
        if rows > 0 && rows >= self.rows_of(&tenant) {
            return Tried::Closed;
        }
        if self.running.len() >= self.limits.rows_max && !self.make_way(&tenant) {
            return Tried::Closed;
        }
        let wanted = self.wanted(request);
        // The first in a step always may: it is paid for by what comes after it.
        if budget.mixture.tokens > 0 && self.pace.added_us(1, self.fresh_bytes(&wanted, budget)) > budget.stretch_us {
            return Tried::Closed;
        }
        let loads_max = match budget.loads == self.limits.step_loads {
            // A mix comes in at once, however many it is.
            true => budget.loads.max(wanted.len()),
            false => budget.loads,
        };
        let Some(placed) = self.slots.place(&wanted, loads_max) else {
            self.pass(request, todo);
            return Tried::Skipped;
        };
        let parts: Vec<(Facts, AdapterSlot, f32)> = self.sequences[&request]
            .ask
            .adapters
            .iter()
            .zip(wanted.iter().zip(&placed.slots))
            .map(|((_, weight), ((_, facts), slot))| (*facts, *slot, *weight))
            .collect();
        budget.loads = budget.loads.saturating_sub(placed.load.len());
        // What sits in slots stays there even if there are no pages now: it is what this request needs.
        todo.extend(placed.unload.into_iter().map(Effect::Unload));
        todo.extend(
            placed
                .load
                .into_iter()
                .map(|(slot, adapter)| Effect::Load(slot, adapter)),
        );
        if !self.give_pages(request, &tenant, &parts, todo) {
            for (_, slot, _) in parts {
                self.slots.unpin(slot);
            }
            return Tried::Closed;
        }
        self.unwait(request, todo);
        let sequence = self.sequences.get_mut(&request).expect("named by the caller");
        sequence.stage = Stage::Running;
        sequence.served_in = self.steps;
        sequence.passed = 0;
        sequence.rank = parts.iter().map(|(facts, ..)| facts.rank).sum();
        self.patience.remove(&sequence.order);
        self.tenants.start(&tenant);
        self.running.insert(request);
        Tried::Runs
    }

    /// Rows that a tenant may have: its part of them. Beside some who want no more than they have, only as many as they
    /// have, and more as long as they are hardly answered later for it.
    fn rows_of(&self, tenant: &Tenant) -> usize {
        let active = self.tenants.active();
        let part = self.limits.rows_max.div_ceil(active.max(1)) + self.limits.rows_spare;
        let others = self.modest(Some(tenant));
        let modest = others.len();
        if modest == 0 {
            return part;
        }
        let rows: usize = others.iter().map(|other| self.tenants.running(other)).sum();
        // All who want more share what these leave.
        let (fair, greedy) = (rows.div_ceil(modest), active.saturating_sub(modest).max(1));
        let all = self
            .pace
            .rows_beside(rows, fair * greedy, part * greedy, self.limits.stretch());
        part.min((all / greedy).max(fair))
    }

    /// Those who run and want no more than that.
    pub(super) fn modest(&self, beside: Option<&Tenant>) -> BTreeSet<&Tenant> {
        self.running
            .iter()
            .map(|request| &self.sequences[request].ask.tenant)
            .filter(|tenant| Some(*tenant) != beside && self.tenants.ready_after(tenant, None).is_none())
            .collect()
    }

    /// Takes the rows that somebody has beyond that since others came, the latest first. They have nothing to compute anew
    /// while there are pages, and every step that they had a part in would be longer for everyone.
    pub(super) fn give_back(&mut self) {
        let mut running: Vec<(u64, RequestId)> = self
            .running
            .iter()
            .map(|request| (self.sequences[request].order, *request))
            .collect();
        running.sort_unstable();
        for (_, request) in running.into_iter().rev() {
            let tenant = &self.sequences[&request].ask.tenant;
            let rows = self.tenants.running(tenant);
            if rows > 1 && rows > self.rows_of(tenant) {
                self.preempt(request);
            }
        }
    }

    /// A ready request does not fit into the slots now.
    fn pass(&mut self, request: RequestId, todo: &mut Vec<Effect>) {
        if self.running.is_empty() {
            let why = "together the adapters are more than the device holds".to_owned();
            self.refuse(request, Refusal::Adapter(why), todo);
            return;
        }
        let sequence = self.sequences.get_mut(&request).expect("named by the caller");
        sequence.passed += 1;
        if sequence.passed > PASSED_MAX && self.first.is_none() {
            self.first = Some(request);
        }
    }

    /// Bytes of these that the step does not have yet.
    fn fresh_bytes(&self, wanted: &[(AdapterKey, Facts)], budget: &Budget) -> u64 {
        let there = |adapter| {
            self.slots
                .find(adapter)
                .is_some_and(|slot| budget.adapters.contains(&slot))
        };
        let fresh = wanted.iter().filter(|(adapter, _)| !there(*adapter));
        fresh.map(|(_, facts)| facts.bytes).sum()
    }

    fn wanted(&self, request: RequestId) -> Vec<(AdapterKey, Facts)> {
        let adapters = &self.sequences[&request].ask.adapters;
        let facts = |adapter: &AdapterKey| match self.held[adapter].fetch {
            Fetch::Here(facts) => facts,
            Fetch::Not | Fetch::Asked => self.slots.facts(*adapter).expect("the ready have their adapters"),
        };
        adapters.iter().map(|(adapter, _)| (*adapter, facts(adapter))).collect()
    }

    /// Pages for every token of a request that starts, taking from tenants that have more than this one.
    fn give_pages(
        &mut self,
        request: RequestId,
        tenant: &Tenant,
        parts: &[(Facts, AdapterSlot, f32)],
        todo: &mut Vec<Effect>,
    ) -> bool {
        let sequence = &self.sequences[&request];
        let (key, mix) = self.content(sequence, parts);
        let (score, tokens) = (sequence.ask.score_prompt, sequence.tokens.clone());
        loop {
            let (mut chain, reuse) = match score {
                true => (self.pages.begin_fresh(key), None),
                false => {
                    let (chain, reuse) = self.pages.begin(key, &tokens);
                    (chain, Some(reuse))
                }
            };
            if self.pages.reserve(&mut chain, tokens.len()) {
                let sequence = self.sequences.get_mut(&request).expect("named by the caller");
                sequence.computed = reuse.map_or(0, |reuse| reuse.filled);
                sequence.cached.get_or_insert(sequence.computed);
                sequence.chain = Some(chain);
                sequence.mix = mix;
                todo.extend(reuse.and_then(|reuse| reuse.copy).map(Effect::Copy));
                return true;
            }
            // What was to be copied into the last page never was.
            let whole = reuse.map_or(0, |reuse| reuse.filled - reuse.copy.map_or(0, |copy| copy.tokens));
            self.pages.end(chain, &tokens[..whole]);
            if !self.make_way(tenant) {
                return false;
            }
        }
    }

    /// Takes the room of a sequence from the tenant that has most, if it then still has no less than `tenant`.
    fn make_way(&mut self, tenant: &Tenant) -> bool {
        let own = self.tenants.running(tenant);
        let victim = self
            .running
            .iter()
            .map(|request| &self.sequences[request])
            .map(|sequence| {
                (
                    self.tenants.running(&sequence.ask.tenant),
                    sequence.order,
                    sequence.ask.request,
                )
            })
            .filter(|(running, ..)| *running >= own + 2)
            .max();
        if let Some((.., victim)) = victim {
            self.preempt(victim);
        }
        victim.is_some()
    }
}
