//! Filling one step: first a token for everyone who is answering, then prompts, the least served tenant's first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{AdapterKey, Effect, Facts, Fetch, Refusal, RequestId, Scheduler, Stage, Tenant, Work};
use crate::forward::{AdapterSlot, Wanted};

/// What a token of an answer counts, where one of a prompt counts 1: it costs a device more.
const ANSWER_WEIGHT: u64 = 2;
/// Least tokens of a prompt that are worth a span, while tenants share a step.
const CHUNK_MIN: usize = 16;
/// Most tokens of a span whose logits are all wanted: they come in rows as long as the vocabulary.
const SCORED_MAX: usize = 32;
/// Requests of one tenant that are tried behind one that does not fit.
const LOOK_AHEAD: usize = 16;
/// How often a ready request is passed before nobody starts in front of it.
const PASSED_MAX: u32 = 64;
/// Steps that the prompt of a running sequence rests before it goes before the answers of others.
const REST_MAX: u64 = 8;

/// What is left of a step.
struct Budget {
    tokens: usize,
    rank_tokens: u64,
    loads: usize,
    adapters: BTreeSet<AdapterSlot>,
}

/// A tenant's prompts within one step.
struct Turn {
    tenant: Tenant,
    started: VecDeque<RequestId>,
    /// The ready request it came to; nothing more is started once `closed`.
    at: Option<u64>,
    tried: usize,
    closed: bool,
}

enum Tried {
    Runs,
    /// This one does not fit now; another may.
    Skipped,
    /// None of this tenant's fits now.
    Closed,
}

impl Scheduler {
    /// Plans a step and asks for it, unless there is nothing to run.
    pub(super) fn plan(&mut self, todo: &mut Vec<Effect>) {
        self.steps += 1;
        self.give_back();
        let mut budget = Budget {
            tokens: self.limits.step_tokens,
            rank_tokens: self.limits.step_rank_tokens,
            loads: self.limits.step_loads,
            adapters: BTreeSet::new(),
        };
        self.plan_overdue(&mut budget);
        self.plan_answers(&mut budget);
        if !self.batch.is_empty() {
            budget.tokens = budget.tokens.min(self.limits.step_prompt_tokens);
        }
        self.plan_prompts(&mut budget, todo);
        if !self.batch.is_empty() {
            self.in_flight = true;
            todo.push(Effect::Run);
        }
    }

    /// A little of each prompt that answers, with their adapters, have kept out of the last steps.
    fn plan_overdue(&mut self, budget: &mut Budget) {
        let overdue: Vec<RequestId> = self
            .running
            .iter()
            .filter(|request| {
                let sequence = &self.sequences[request];
                !sequence.answering() && sequence.served_in + REST_MAX < self.steps
            })
            .copied()
            .collect();
        for request in overdue {
            self.chunk(request, CHUNK_MIN, budget);
        }
    }

    /// One token for each sequence that is answering. Whoever found no room in earlier steps goes first.
    fn plan_answers(&mut self, budget: &mut Budget) {
        let mut answering: Vec<(u64, u64, RequestId)> = self
            .running
            .iter()
            .map(|request| &self.sequences[request])
            .filter(|sequence| sequence.answering())
            .map(|sequence| (sequence.served_in, sequence.order, sequence.ask.request))
            .collect();
        answering.sort_unstable();
        for (.., request) in answering {
            // An earlier one may have taken its room.
            if self.running.contains(&request) && self.room_for(request, 1, budget) == 1 && self.grow(request) {
                self.add(request, 1, budget);
            }
        }
    }

    /// Chunks of prompts, of those who run and of those who start now.
    fn plan_prompts(&mut self, budget: &mut Budget, todo: &mut Vec<Effect>) {
        let mut turns = self.turns();
        let share = (budget.tokens / turns.len().max(1)).max(CHUNK_MIN);
        if let Some(first) = self.first {
            match self.start(first, budget, todo) {
                Tried::Runs => self.chunk(first, share, budget),
                Tried::Skipped | Tried::Closed => turns.iter_mut().for_each(|turn| turn.closed = true),
            }
        }
        while budget.tokens > 0 {
            let next = (0..turns.len())
                .filter(|at| !turns[*at].closed || !turns[*at].started.is_empty())
                .min_by_key(|at| self.tenants.served(&turns[*at].tenant));
            let Some(next) = next else {
                return;
            };
            let turn = &mut turns[next];
            if let Some(request) = turn.started.pop_front() {
                self.chunk(request, share, budget);
                continue;
            }
            let Some((order, request)) = self.tenants.ready_after(&turn.tenant, turn.at) else {
                turn.closed = true;
                continue;
            };
            turn.at = Some(order);
            match self.start(request, budget, todo) {
                Tried::Runs => self.chunk(request, share, budget),
                Tried::Skipped => {
                    let turn = &mut turns[next];
                    turn.tried += 1;
                    turn.closed = turn.tried >= LOOK_AHEAD;
                }
                Tried::Closed => turns[next].closed = true,
            }
        }
    }

    fn turns(&self) -> Vec<Turn> {
        let mut started: BTreeMap<&Tenant, Vec<(u64, RequestId)>> = BTreeMap::new();
        for request in &self.running {
            let sequence = &self.sequences[request];
            if !sequence.answering() && sequence.served_in < self.steps {
                let list = started.entry(&sequence.ask.tenant).or_default();
                list.push((sequence.order, *request));
            }
        }
        let turn = |tenant: Tenant| {
            let mut own = started.get(&tenant).cloned().unwrap_or_default();
            own.sort_unstable();
            Turn {
                started: own.into_iter().map(|(_, request)| request).collect(),
                closed: self.tenants.ready_after(&tenant, None).is_none(),
                at: None,
                tried: 0,
                tenant,
            }
        };
        let turns = self.tenants.in_turn().into_iter().map(turn);
        turns.filter(|turn| !turn.closed || !turn.started.is_empty()).collect()
    }

    /// Adds as much of a prompt as there is room for.
    fn chunk(&mut self, request: RequestId, share: usize, budget: &mut Budget) {
        let Some(sequence) = self.sequences.get(&request).filter(|_| self.running.contains(&request)) else {
            return;
        };
        let most = match sequence.ask.score_prompt && sequence.scored < sequence.prompt {
            true => share.min(SCORED_MAX),
            false => share,
        };
        let count = self.room_for(request, sequence.pending().min(most), budget);
        if count > 0 {
            self.add(request, count, budget);
        }
    }

    /// How many of `count` tokens of a sequence fit into the step.
    fn room_for(&self, request: RequestId, count: usize, budget: &Budget) -> usize {
        let sequence = &self.sequences[&request];
        let fresh: BTreeSet<AdapterSlot> = sequence
            .mix
            .iter()
            .map(|part| part.slot)
            .filter(|slot| !budget.adapters.contains(slot))
            .collect();
        if budget.adapters.len() + fresh.len() > self.limits.step_adapters {
            return 0;
        }
        let count = count.min(budget.tokens);
        if sequence.rank == 0 {
            return count;
        }
        let by_rank = usize::try_from(budget.rank_tokens / u64::from(sequence.rank)).unwrap_or(usize::MAX);
        // A mix whose rank alone is over the bound still runs, by itself.
        count.min(by_rank.max(usize::from(self.batch.is_empty())))
    }

    fn add(&mut self, request: RequestId, count: usize, budget: &mut Budget) {
        let sequence = self.sequences.get_mut(&request).expect("named by the caller");
        let end = sequence.computed + count;
        let last = end == sequence.tokens.len();
        let scoring = sequence.ask.score_prompt && sequence.scored < sequence.prompt;
        let weight = if sequence.answering() { ANSWER_WEIGHT } else { 1 };
        sequence.served_in = self.steps;
        budget.tokens -= count;
        let rank_tokens = u64::from(sequence.rank) * count as u64;
        budget.rank_tokens = budget.rank_tokens.saturating_sub(rank_tokens);
        budget.adapters.extend(sequence.mix.iter().map(|part| part.slot));
        self.tenants.charge(&sequence.ask.tenant, weight * count as u64);
        self.batch.push(Work {
            request,
            count,
            wanted: match (scoring, last) {
                (true, _) => Wanted::All,
                (false, true) => Wanted::Last,
                (false, false) => Wanted::Nothing,
            },
            last,
        });
    }

    /// Gives an answering sequence a page for its next position, taking another's room if it must. Its own goes if
    /// nobody else's can.
    fn grow(&mut self, request: RequestId) -> bool {
        loop {
            let sequence = self.sequences.get_mut(&request).expect("who runs asked");
            let chain = sequence.chain.as_mut().expect("what runs has pages");
            if self.pages.reserve(chain, sequence.tokens.len()) {
                return true;
            }
            let planned: BTreeSet<RequestId> = self.batch.iter().map(|work| work.request).collect();
            let victim = self
                .running
                .iter()
                .filter(|other| **other != request && !planned.contains(other))
                .max_by_key(|other| {
                    let sequence = &self.sequences[other];
                    (self.tenants.running(&sequence.ask.tenant), sequence.order)
                })
                .copied();
            match victim {
                Some(victim) => self.preempt(victim),
                None => {
                    assert!(!planned.is_empty(), "one sequence alone always fits");
                    self.preempt(request);
                    return false;
                }
            }
        }
    }

    /// Gives a ready request a row, slots and pages for its whole prompt.
    fn start(&mut self, request: RequestId, budget: &mut Budget, todo: &mut Vec<Effect>) -> Tried {
        if self.chill(request) {
            return Tried::Skipped;
        }
        let tenant = self.sequences[&request].ask.tenant.clone();
        if self.tenants.running(&tenant) >= self.rows_of_one() {
            return Tried::Closed;
        }
        if self.running.len() >= self.limits.rows_max && !self.make_way(&tenant) {
            return Tried::Closed;
        }
        let wanted = self.wanted(request);
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

    /// Rows that one tenant may have: all of them when it is alone.
    fn rows_of_one(&self) -> usize {
        self.limits.rows_max.div_ceil(self.tenants.active().max(1)) + self.limits.rows_spare
    }

    /// Takes a row from whoever has more than that since others came, one a step, the latest first.
    fn give_back(&mut self) {
        let most = self.rows_of_one();
        let latest = self
            .running
            .iter()
            .map(|request| &self.sequences[request])
            .filter(|sequence| self.tenants.running(&sequence.ask.tenant) > most)
            .max_by_key(|sequence| sequence.order)
            .map(|sequence| sequence.ask.request);
        if let Some(latest) = latest {
            self.preempt(latest);
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
