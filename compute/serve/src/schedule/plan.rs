//! Filling one step: first a token for everyone who is answering, then prompts, the least served tenant's first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use compute::forward::{AdapterSlot, Wanted};
use protocol::Time;

use super::{
    Effect, RequestId, Scheduler, Tenant, Work,
    pace::Mixture,
    start::{Budget, Tried},
};

/// What a token of an answer counts, where one of a prompt counts 1: it costs a device more.
const ANSWER_WEIGHT: u64 = 2;
/// Least tokens of a prompt that are worth a span, while tenants share a step.
const CHUNK_MIN: usize = 16;
/// Most tokens of a span whose logits are all wanted: they come in rows as long as the vocabulary.
const SCORED_MAX: usize = 32;
/// Tokens of prompts that a step has room for, however slow it is: everyone gets on.
const TOKENS_MIN: usize = 2;
/// Requests of one tenant that are tried behind one that does not fit.
const LOOK_AHEAD: usize = 16;
/// Steps that the prompt of a running sequence rests before it goes before the answers of others.
const REST_MAX: u64 = 8;

/// A tenant's prompts within one step.
struct Turn {
    tenant: Tenant,
    started: VecDeque<RequestId>,
    /// The ready request it came to; nothing more is started once `closed`.
    at: Option<u64>,
    tried: usize,
    closed: bool,
}

impl Scheduler {
    /// Plans a step and asks for it, unless there is nothing to run.
    pub(super) fn plan(&mut self, now: Time, todo: &mut Vec<Effect>) {
        self.steps += 1;
        self.give_back();
        let (stretch_us, greedy_us) = self.stretch_us();
        let mut budget = Budget {
            tokens: self.limits.step_tokens,
            rank_tokens: self.limits.step_rank_tokens,
            loads: self.limits.step_loads,
            adapters: BTreeSet::new(),
            stretch_us,
            greedy_us,
            mixture: Mixture::default(),
        };
        self.plan_overdue(&mut budget);
        self.plan_answers(&mut budget);
        if !self.batch.is_empty() {
            budget.tokens = budget.tokens.min(self.limits.step_prompt_tokens);
        }
        self.plan_prompts(&mut budget, todo);
        let too_little = budget.mixture.tokens > 0 && self.pace.tokens_in(budget.stretch_us) == 0;
        self.pace.wanted(now, too_little);
        if !self.batch.is_empty() {
            self.in_flight = true;
            self.pace.begin(now, budget.mixture);
            todo.push(Effect::Run);
        }
    }

    /// How much longer than with its answers alone the step may take, and how much of it is for the greedy: however long
    /// they have too little, they take no more beside others than their part. While nobody is answering, as long as it likes.
    #[allow(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "a time that was learnt, and shares of it"
    )]
    fn stretch_us(&self) -> (f64, f64) {
        let running = self.running.iter().map(|request| &self.sequences[request]);
        let answers = running.filter(|sequence| sequence.answering()).count();
        let stretch = self.limits.stretch();
        let share = stretch * self.pace.leniency();
        let modest = self.modest(None).len();
        let part = match modest {
            0 => share,
            _ => self.tenants.active().saturating_sub(modest) as f64 / modest as f64,
        };
        // What takes no time cannot be lengthened.
        match self
            .pace
            .answers_us(answers)
            .filter(|step_us| answers > 0 && *step_us > 0.0)
        {
            Some(step_us) => (step_us * share, step_us * part.clamp(stretch, share)),
            None => (f64::INFINITY, f64::INFINITY),
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
        let us = match self.tenants.ready_after(&sequence.ask.tenant, None) {
            Some(_) => budget.greedy_us.min(budget.stretch_us),
            None => budget.stretch_us,
        };
        let fresh = sequence.mix.iter().filter(|part| !budget.adapters.contains(&part.slot));
        let most = most.min(self.tokens_left(budget, us, fresh.map(|part| self.slots.bytes(part.slot)).sum()));
        let count = self.room_for(request, sequence.pending().min(most), budget);
        if count > 0 {
            self.add(request, count, budget);
        }
    }

    /// How many more tokens of prompts the step has room and time for, if so many bytes of adapters come with them.
    #[allow(clippy::float_arithmetic, reason = "a time that was learnt is taken off another")]
    fn tokens_left(&self, budget: &Budget, us: f64, bytes: u64) -> usize {
        let tokens = self.pace.tokens_in(us - self.pace.added_us(0, bytes));
        budget
            .tokens
            .min(tokens.max(TOKENS_MIN.saturating_sub(budget.mixture.tokens)))
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

    #[allow(clippy::float_arithmetic, reason = "times that were learnt are added up")]
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
        let fresh = sequence.mix.iter().filter(|part| budget.adapters.insert(part.slot));
        let bytes = fresh.map(|part| self.slots.bytes(part.slot)).sum();
        match sequence.answering() {
            true => budget.mixture.answers += 1,
            false => {
                let us = self.pace.added_us(count, bytes);
                budget.stretch_us -= us;
                if self.tenants.ready_after(&sequence.ask.tenant, None).is_some() {
                    budget.greedy_us -= us;
                }
                budget.mixture.tokens += count;
                budget.mixture.bytes += bytes;
            }
        }
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
}
