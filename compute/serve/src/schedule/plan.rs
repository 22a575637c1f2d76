//! Planning a step: first one token for every sequence that decodes, then prompts, the least served tenant's first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use compute::forward::{AdapterSlot, Wanted};
use protocol::Time;

use super::{
    Effect, RequestId, Scheduler, Tenant, Work,
    start::{Budget, StartOutcome},
    step_time::StepLoad,
};

/// Cost of a decoded token in the fairness counter, where a prompt token costs 1: decoding is dearer for a device.
const DECODE_WEIGHT: u64 = 2;
/// Smallest chunk of a prompt while tenants share a step.
const CHUNK_MIN: usize = 16;
/// Largest chunk of a prompt whose logits are all needed: each position is a row as long as the vocabulary.
const SCORED_MAX: usize = 32;
/// Prompt tokens that every step has room for, however slow it is, so that all prompts advance.
const TOKENS_MIN: usize = 2;
/// Requests of one tenant that are tried after one that does not fit.
const LOOK_AHEAD: usize = 16;
/// Steps without progress after which a running prompt goes before the decoding of others.
const REST_MAX: u64 = 8;

/// A tenant's prompts within one step.
struct TenantTurn {
    tenant: Tenant,
    started: VecDeque<RequestId>,
    /// Arrival number of the ready request tried last. Nothing more is started once `closed`.
    at: Option<u64>,
    tried: usize,
    closed: bool,
}

impl Scheduler {
    /// Plans a step and asks for it, unless there is nothing to run.
    pub(super) fn plan(&mut self, now: Time, todo: &mut Vec<Effect>) {
        self.steps += 1;
        self.preempt_excess();
        let (stretch_us, backlogged_us) = self.stretch_us();
        let mut budget = Budget {
            tokens: self.limits.step_tokens,
            rank_tokens: self.limits.step_rank_tokens,
            loads: self.limits.step_loads,
            adapters: BTreeSet::new(),
            stretch_us,
            backlogged_us,
            load: StepLoad::default(),
        };
        self.plan_overdue(&mut budget);
        self.plan_decoding(&mut budget);
        if !self.batch.is_empty() {
            budget.tokens = budget.tokens.min(self.limits.step_prompt_tokens);
        }
        self.plan_prompts(&mut budget, todo);
        let too_short = budget.load.tokens > 0 && self.step_time.tokens_in(budget.stretch_us) == 0;
        self.step_time.record_plan(now, too_short);
        if !self.batch.is_empty() {
            self.in_flight = true;
            self.step_time.begin(now, budget.load);
            todo.push(Effect::Run);
        }
    }

    /// Microseconds by which prompts may lengthen the step, and the part of it for tenants with a backlog: beside others these
    /// never get more than their part. Unbounded while nothing decodes.
    #[allow(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "a time that was learnt, and shares of it"
    )]
    fn stretch_us(&self) -> (f64, f64) {
        let running = self.running.iter().map(|request| &self.sequences[request]);
        let answers = running.filter(|sequence| sequence.is_decoding()).count();
        let stretch = self.limits.stretch();
        let share = stretch * self.step_time.leniency();
        let satisfied = self.satisfied(None).len();
        let part = match satisfied {
            0 => share,
            _ => self.tenants.active().saturating_sub(satisfied) as f64 / satisfied as f64,
        };
        // A step that takes no time has nothing to be a share of.
        match self
            .step_time
            .decode_us(answers)
            .filter(|step_us| answers > 0 && *step_us > 0.0)
        {
            Some(step_us) => (step_us * share, step_us * part.clamp(stretch, share)),
            None => (f64::INFINITY, f64::INFINITY),
        }
    }

    /// Adds a small chunk of each running prompt that decoding sequences, with their adapters, kept out of recent steps.
    fn plan_overdue(&mut self, budget: &mut Budget) {
        let overdue: Vec<RequestId> = self
            .running
            .iter()
            .filter(|request| {
                let sequence = &self.sequences[request];
                !sequence.is_decoding() && sequence.served_in + REST_MAX < self.steps
            })
            .copied()
            .collect();
        for request in overdue {
            self.chunk(request, CHUNK_MIN, budget);
        }
    }

    /// Adds one token for each decoding sequence. One that found no room in earlier steps goes first.
    fn plan_decoding(&mut self, budget: &mut Budget) {
        let mut answering: Vec<(u64, u64, RequestId)> = self
            .running
            .iter()
            .map(|request| &self.sequences[request])
            .filter(|sequence| sequence.is_decoding())
            .map(|sequence| (sequence.served_in, sequence.order, sequence.request.id))
            .collect();
        answering.sort_unstable();
        for (.., request) in answering {
            // An earlier sequence may have preempted it.
            if self.running.contains(&request) && self.room_for(request, 1, budget) == 1 && self.grow(request) {
                self.add(request, 1, budget);
            }
        }
    }

    /// Adds chunks of prompts: of running sequences, and of those that start now.
    fn plan_prompts(&mut self, budget: &mut Budget, todo: &mut Vec<Effect>) {
        let mut turns = self.turns();
        let share = (budget.tokens / turns.len().max(1)).max(CHUNK_MIN);
        if let Some(first) = self.head_of_line {
            match self.start(first, budget, todo) {
                StartOutcome::Started => self.chunk(first, share, budget),
                StartOutcome::Skipped | StartOutcome::TenantBlocked => {
                    turns.iter_mut().for_each(|turn| turn.closed = true)
                }
            }
        }
        while self.tokens_left(budget, budget.stretch_us, 0) > 0 {
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
                StartOutcome::Started => self.chunk(request, share, budget),
                StartOutcome::Skipped => {
                    let turn = &mut turns[next];
                    turn.tried += 1;
                    turn.closed = turn.tried >= LOOK_AHEAD;
                }
                StartOutcome::TenantBlocked => turns[next].closed = true,
            }
        }
    }

    fn turns(&self) -> Vec<TenantTurn> {
        let mut started: BTreeMap<&Tenant, Vec<(u64, RequestId)>> = BTreeMap::new();
        for request in &self.running {
            let sequence = &self.sequences[request];
            if !sequence.is_decoding() && sequence.served_in < self.steps {
                let list = started.entry(&sequence.request.tenant).or_default();
                list.push((sequence.order, *request));
            }
        }
        let turn = |tenant: Tenant| {
            let mut own = started.get(&tenant).cloned().unwrap_or_default();
            own.sort_unstable();
            TenantTurn {
                started: own.into_iter().map(|(_, request)| request).collect(),
                closed: self.tenants.ready_after(&tenant, None).is_none(),
                at: None,
                tried: 0,
                tenant,
            }
        };
        let turns = self.tenants.least_served_first().into_iter().map(turn);
        turns.filter(|turn| !turn.closed || !turn.started.is_empty()).collect()
    }

    /// Adds as much of a prompt as there is room for.
    fn chunk(&mut self, request: RequestId, share: usize, budget: &mut Budget) {
        let Some(sequence) = self.sequences.get(&request).filter(|_| self.running.contains(&request)) else {
            return;
        };
        let most = match sequence.request.score_prompt && sequence.scored < sequence.prompt {
            true => share.min(SCORED_MAX),
            false => share,
        };
        let us = match self.tenants.ready_after(&sequence.request.tenant, None) {
            Some(_) => budget.backlogged_us.min(budget.stretch_us),
            None => budget.stretch_us,
        };
        let fresh = sequence.mix.iter().filter(|part| !budget.adapters.contains(&part.slot));
        let most = most.min(self.tokens_left(budget, us, fresh.map(|part| self.slots.bytes(part.slot)).sum()));
        let count = self.room_for(request, sequence.pending().min(most), budget);
        if count > 0 {
            self.add(request, count, budget);
        }
    }

    /// Prompt tokens for which the step has room and time, if adapters of this many bytes come with them.
    #[allow(clippy::float_arithmetic, reason = "a time that was learnt is taken off another")]
    fn tokens_left(&self, budget: &Budget, us: f64, bytes: u64) -> usize {
        let tokens = self.step_time.tokens_in(us - self.step_time.added_us(0, bytes));
        budget
            .tokens
            .min(tokens.max(TOKENS_MIN.saturating_sub(budget.load.tokens)))
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
        // A mix whose rank alone exceeds the limit still runs, alone in its step.
        count.min(by_rank.max(usize::from(self.batch.is_empty())))
    }

    #[allow(clippy::float_arithmetic, reason = "times that were learnt are added up")]
    fn add(&mut self, request: RequestId, count: usize, budget: &mut Budget) {
        let sequence = self.sequences.get_mut(&request).expect("named by the caller");
        let end = sequence.computed + count;
        let last = end == sequence.tokens.len();
        let scoring = sequence.request.score_prompt && sequence.scored < sequence.prompt;
        let weight = if sequence.is_decoding() { DECODE_WEIGHT } else { 1 };
        sequence.served_in = self.steps;
        budget.tokens -= count;
        let rank_tokens = u64::from(sequence.rank) * count as u64;
        budget.rank_tokens = budget.rank_tokens.saturating_sub(rank_tokens);
        let fresh = sequence.mix.iter().filter(|part| budget.adapters.insert(part.slot));
        let bytes = fresh.map(|part| self.slots.bytes(part.slot)).sum();
        match sequence.is_decoding() {
            true => budget.load.decoding += 1,
            false => {
                let us = self.step_time.added_us(count, bytes);
                budget.stretch_us -= us;
                if self.tenants.ready_after(&sequence.request.tenant, None).is_some() {
                    budget.backlogged_us -= us;
                }
                budget.load.tokens += count;
                budget.load.bytes += bytes;
            }
        }
        self.tenants.charge(&sequence.request.tenant, weight * count as u64);
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

    /// Gives a decoding sequence a page for its next position, preempting another sequence if it must, or this one if no
    /// other can be. Returns false in the last case.
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
                    (self.tenants.running(&sequence.request.tenant), sequence.order)
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
}
