//! Starting a request: a row, slots for its adapters, and pages for its prompt, preempting tenants that have more.

use std::collections::BTreeSet;

use compute::forward::AdapterSlot;

use super::{
    AdapterInfo, AdapterKey, Effect, FetchState, Refusal, RequestId, Scheduler, Stage, Tenant, step_time::StepLoad,
};

/// How often a ready request is passed over before no other may start before it.
const PASSED_MAX: u32 = 64;

/// The room left in the step that is being planned.
pub(super) struct Budget {
    pub(super) tokens: usize,
    pub(super) rank_tokens: u64,
    pub(super) loads: usize,
    pub(super) adapters: BTreeSet<AdapterSlot>,
    /// Microseconds that prompts may still add; and those that prompts of tenants with a backlog may.
    pub(super) stretch_us: f64,
    pub(super) backlogged_us: f64,
    pub(super) load: StepLoad,
}

/// Outcome of trying to start a request.
pub(super) enum StartOutcome {
    Started,
    /// This request does not fit now; another of the tenant may.
    Skipped,
    /// No request of this tenant can start now.
    TenantBlocked,
}

impl Scheduler {
    /// Gives a ready request a row, slots, and pages for its whole prompt.
    pub(super) fn start(&mut self, request: RequestId, budget: &mut Budget, todo: &mut Vec<Effect>) -> StartOutcome {
        if self.demote_if_unloaded(request) {
            return StartOutcome::Skipped;
        }
        let tenant = self.sequences[&request].request.tenant.clone();
        let rows = self.tenants.running(&tenant);
        if rows > 0 && rows >= self.rows_of(&tenant) {
            return StartOutcome::TenantBlocked;
        }
        if self.running.len() >= self.limits.rows_max && !self.preempt_for(&tenant) {
            return StartOutcome::TenantBlocked;
        }
        let wanted = self.wanted(request);
        // The first prompt of a step may always start; later ones pay for it with the time that is left.
        if budget.load.tokens > 0 && self.step_time.added_us(1, self.fresh_bytes(&wanted, budget)) > budget.stretch_us {
            return StartOutcome::TenantBlocked;
        }
        let loads_max = match budget.loads == self.limits.step_loads {
            // A mix is loaded whole, even if it exceeds the limit.
            true => budget.loads.max(wanted.len()),
            false => budget.loads,
        };
        let Some(placed) = self.slots.place(&wanted, loads_max) else {
            self.pass(request, todo);
            return StartOutcome::Skipped;
        };
        let parts: Vec<(AdapterInfo, AdapterSlot, f32)> = self.sequences[&request]
            .request
            .adapters
            .iter()
            .zip(wanted.iter().zip(&placed.slots))
            .map(|((_, weight), ((_, info), slot))| (*info, *slot, *weight))
            .collect();
        budget.loads = budget.loads.saturating_sub(placed.load.len());
        // Adapters stay in their slots even if there are no pages now: this request needs them when it is tried again.
        todo.extend(placed.unload.into_iter().map(Effect::Unload));
        todo.extend(
            placed
                .load
                .into_iter()
                .map(|(slot, adapter)| Effect::Load(slot, adapter)),
        );
        if !self.allocate_pages(request, &tenant, &parts, todo) {
            for (_, slot, _) in parts {
                self.slots.unpin(slot);
            }
            return StartOutcome::TenantBlocked;
        }
        self.dequeue(request, todo);
        let sequence = self.sequences.get_mut(&request).expect("named by the caller");
        sequence.stage = Stage::Running;
        sequence.served_in = self.steps;
        sequence.passed = 0;
        sequence.rank = parts.iter().map(|(info, ..)| info.rank).sum();
        self.waiting_since.remove(&sequence.order);
        self.tenants.start(&tenant);
        self.running.insert(request);
        StartOutcome::Started
    }

    /// Most rows of a tenant: its equal part. Beside tenants that need no more than they have, only as many as those have, and
    /// more only as long as that hardly delays them.
    fn rows_of(&self, tenant: &Tenant) -> usize {
        let active = self.tenants.active();
        let part = self.limits.rows_max.div_ceil(active.max(1)) + self.limits.rows_spare;
        let others = self.satisfied(Some(tenant));
        let satisfied = others.len();
        if satisfied == 0 {
            return part;
        }
        let rows: usize = others.iter().map(|other| self.tenants.running(other)).sum();
        // Tenants with a backlog share what the satisfied ones leave.
        let (fair, backlogged) = (rows.div_ceil(satisfied), active.saturating_sub(satisfied).max(1));
        let all = self
            .step_time
            .rows_beside(rows, fair * backlogged, part * backlogged, self.limits.stretch());
        part.min((all / backlogged).max(fair))
    }

    /// Running tenants without a backlog, `beside` left out.
    pub(super) fn satisfied(&self, beside: Option<&Tenant>) -> BTreeSet<&Tenant> {
        self.running
            .iter()
            .map(|request| &self.sequences[request].request.tenant)
            .filter(|tenant| Some(*tenant) != beside && self.tenants.ready_after(tenant, None).is_none())
            .collect()
    }

    /// Preempts rows that a tenant has beyond its limit since other tenants arrived, the latest first. Their pages stay in the
    /// cache, so little is lost, and every step with them would be longer for everyone.
    pub(super) fn preempt_excess(&mut self) {
        let mut running: Vec<(u64, RequestId)> = self
            .running
            .iter()
            .map(|request| (self.sequences[request].order, *request))
            .collect();
        running.sort_unstable();
        for (_, request) in running.into_iter().rev() {
            let tenant = &self.sequences[&request].request.tenant;
            let rows = self.tenants.running(tenant);
            if rows > 1 && rows > self.rows_of(tenant) {
                self.preempt(request);
            }
        }
    }

    /// Records that a ready request does not fit into the slots now.
    fn pass(&mut self, request: RequestId, todo: &mut Vec<Effect>) {
        if self.running.is_empty() {
            let why = "together the adapters are more than the device holds".to_owned();
            self.refuse(request, Refusal::Adapter(why), todo);
            return;
        }
        let sequence = self.sequences.get_mut(&request).expect("named by the caller");
        sequence.passed += 1;
        if sequence.passed > PASSED_MAX && self.head_of_line.is_none() {
            self.head_of_line = Some(request);
        }
    }

    /// Bytes of these adapters that are not in the step yet.
    fn fresh_bytes(&self, wanted: &[(AdapterKey, AdapterInfo)], budget: &Budget) -> u64 {
        let there = |adapter| {
            self.slots
                .find(adapter)
                .is_some_and(|slot| budget.adapters.contains(&slot))
        };
        let fresh = wanted.iter().filter(|(adapter, _)| !there(*adapter));
        fresh.map(|(_, info)| info.bytes).sum()
    }

    fn wanted(&self, request: RequestId) -> Vec<(AdapterKey, AdapterInfo)> {
        let adapters = &self.sequences[&request].request.adapters;
        let info = |adapter: &AdapterKey| match self.wanted_adapters[adapter].fetch {
            FetchState::Loaded(info) => info,
            FetchState::NotRequested | FetchState::Requested => {
                self.slots.info(*adapter).expect("the ready have their adapters")
            }
        };
        adapters.iter().map(|(adapter, _)| (*adapter, info(adapter))).collect()
    }

    /// Allocates pages for all tokens of a request that starts, preempting tenants with more rows than this one.
    fn allocate_pages(
        &mut self,
        request: RequestId,
        tenant: &Tenant,
        parts: &[(AdapterInfo, AdapterSlot, f32)],
        todo: &mut Vec<Effect>,
    ) -> bool {
        let sequence = &self.sequences[&request];
        let (key, mix) = self.content(sequence, parts);
        let (score, tokens) = (sequence.request.score_prompt, sequence.tokens.clone());
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
            // The copy into the last page was never made, so that part must not be cached.
            let whole = reuse.map_or(0, |reuse| reuse.filled - reuse.copy.map_or(0, |copy| copy.tokens));
            self.pages.end(chain, &tokens[..whole]);
            if !self.preempt_for(tenant) {
                return false;
            }
        }
    }

    /// Preempts a sequence of the tenant with the most rows, if that one then still has no fewer than `tenant`.
    fn preempt_for(&mut self, tenant: &Tenant) -> bool {
        let own = self.tenants.running(tenant);
        let victim = self
            .running
            .iter()
            .map(|request| &self.sequences[request])
            .map(|sequence| {
                (
                    self.tenants.running(&sequence.request.tenant),
                    sequence.order,
                    sequence.request.id,
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
