//! A device without arithmetic: every position remembers what it was computed from, and the next token follows from that.

use std::collections::{BTreeMap, BTreeSet};

use compute::forward::PageId;
use protocol::crypto;

use super::super::*;
use super::info;

/// Content of a position: adapters with weights, and all tokens up to it.
type Content = [u8; 32];

pub(in crate::schedule) struct Device {
    pub(in crate::schedule) scheduler: Scheduler,
    pub(in crate::schedule) now: Time,
    pub(in crate::schedule) answers: BTreeMap<RequestId, Vec<u32>>,
    pub(in crate::schedule) finished: BTreeMap<RequestId, (Finish, Usage)>,
    pub(in crate::schedule) refused: BTreeMap<RequestId, Refusal>,
    /// Fetches wait for [`Device::give`].
    pub(in crate::schedule) fetch_by_hand: bool,
    pub(in crate::schedule) asked_for: Vec<AdapterKey>,
    pub(in crate::schedule) misfits: BTreeSet<AdapterKey>,
    pub(in crate::schedule) break_next: bool,
    pub(in crate::schedule) loads: usize,
    pub(in crate::schedule) scored: usize,
    pub(in crate::schedule) steps: usize,
    pub(in crate::schedule) adapters_seen_max: usize,
    pub(in crate::schedule) rank_tokens_seen_max: usize,
    /// What a step of so many tokens takes, in microseconds.
    pub(in crate::schedule) takes_us: fn(usize) -> u64,
    /// What each took.
    pub(in crate::schedule) took_us: Vec<u64>,
    /// Steps in which each request took part.
    pub(in crate::schedule) served: BTreeMap<RequestId, Vec<usize>>,
    fetched: BTreeSet<AdapterKey>,
    slots: BTreeMap<AdapterSlot, AdapterKey>,
    pages: BTreeMap<(PageId, usize), Content>,
    shape: Shape,
    todo: Vec<Effect>,
    performing: bool,
}

impl Device {
    pub(in crate::schedule) fn new(limits: Limits, shape: Shape) -> Self {
        Self {
            scheduler: Scheduler::new(limits, shape, [0; 32], Vec::new()),
            now: Time(0),
            answers: BTreeMap::new(),
            finished: BTreeMap::new(),
            refused: BTreeMap::new(),
            fetch_by_hand: false,
            asked_for: Vec::new(),
            misfits: BTreeSet::new(),
            break_next: false,
            loads: 0,
            scored: 0,
            steps: 0,
            adapters_seen_max: 0,
            rank_tokens_seen_max: 0,
            takes_us: |_| 0,
            took_us: Vec::new(),
            served: BTreeMap::new(),
            fetched: BTreeSet::new(),
            slots: BTreeMap::new(),
            pages: BTreeMap::new(),
            shape,
            todo: Vec::new(),
            performing: false,
        }
    }

    pub(in crate::schedule) fn submit(&mut self, request: ScheduleRequest) {
        self.answers.insert(request.id, Vec::new());
        self.input(Input::Submit(request));
    }

    pub(in crate::schedule) fn tick(&mut self) {
        self.now = self.now.after_ms(1);
        self.input(Input::Tick);
    }

    pub(in crate::schedule) fn until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            self.tick();
        }
        panic!("not within 20,000 steps: {:?}", self.scheduler.occupancy());
    }

    pub(in crate::schedule) fn until_idle(&mut self) {
        self.until(|device| device.scheduler.is_idle());
    }

    pub(in crate::schedule) fn give(&mut self, adapter: AdapterKey, result: Result<AdapterInfo, String>) {
        if result.is_ok() {
            self.fetched.insert(adapter);
        }
        self.input(Input::Fetched(adapter, result));
    }

    pub(in crate::schedule) fn answer(&self, request: u64) -> Vec<u32> {
        self.answers[&RequestId(request)].clone()
    }

    pub(in crate::schedule) fn finish(&self, request: u64) -> Finish {
        self.finished[&RequestId(request)].0.clone()
    }

    pub(in crate::schedule) fn usage(&self, request: u64) -> Usage {
        self.finished[&RequestId(request)].1
    }

    pub(in crate::schedule) fn memory_is_empty(&self) -> bool {
        self.fetched.is_empty()
    }

    pub(in crate::schedule) fn input(&mut self, input: Input) {
        self.scheduler.step(self.now, input, &mut self.todo);
        // What follows from an effect comes behind the effects that were listed before it.
        if !std::mem::replace(&mut self.performing, true) {
            while !self.todo.is_empty() {
                let effect = self.todo.remove(0);
                self.perform(effect);
            }
            self.performing = false;
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Refused(request, refusal) => {
                assert!(self.answers[&request].is_empty(), "who got a token is not refused");
                assert!(self.refused.insert(request, refusal).is_none());
            }
            Effect::Fetch(adapter) => {
                self.asked_for.push(adapter);
                if !self.fetch_by_hand {
                    self.give(adapter, Ok(info(adapter)));
                }
            }
            Effect::Drop(adapter) => assert!(self.fetched.remove(&adapter)),
            Effect::Load(_, adapter) if self.misfits.contains(&adapter) => {
                self.input(Input::Misfit(adapter, "does not fit".to_owned()));
            }
            Effect::Load(slot, adapter) => {
                assert!(self.fetched.contains(&adapter), "what is loaded is in memory");
                assert!(self.slots.insert(slot, adapter).is_none(), "a slot was emptied before");
                self.loads += 1;
            }
            Effect::Unload(slot) => assert!(self.slots.remove(&slot).is_some()),
            Effect::Copy(copy) => {
                for at in 0..copy.tokens {
                    let content = self.pages[&(copy.from, at)];
                    self.pages.insert((copy.to, at), content);
                }
            }
            Effect::Run => self.run(),
            Effect::Token(request, token) => {
                assert!(!self.finished.contains_key(&request));
                self.answers.get_mut(&request).expect("asked").push(token);
            }
            Effect::Finished(request, finish, usage) => {
                assert!(!self.refused.contains_key(&request));
                assert!(
                    self.finished.insert(request, (finish, usage)).is_none(),
                    "an answer ends once"
                );
            }
        }
    }

    fn run(&mut self) {
        self.steps += 1;
        let (mut tokens, mut adapters, mut rank_tokens) = (Vec::new(), BTreeSet::new(), 0);
        let spans: Vec<_> = self.scheduler.spans().collect();
        if std::mem::take(&mut self.break_next) {
            drop(spans);
            self.pages.clear();
            self.slots.clear();
            return self.input(Input::Broken("the device broke".to_owned()));
        }
        let total: usize = spans.iter().map(|planned| planned.span.tokens.len()).sum();
        assert!(total <= self.scheduler.limits.step_tokens, "{total} tokens in a step");
        let takes_us = (self.takes_us)(total);
        self.took_us.push(takes_us);
        self.now.0 += takes_us;
        let written: Vec<PageId> = spans
            .iter()
            .flat_map(|planned| &planned.span.pages[planned.span.start as usize / self.shape.page_tokens..])
            .copied()
            .collect();
        assert_eq!(
            written.iter().collect::<BTreeSet<_>>().len(),
            written.len(),
            "one writer per page"
        );
        for Planned {
            request, span, last, ..
        } in spans
        {
            let mix = span.adapters.iter().map(|part| (self.slots[&part.slot], part.weight));
            let mix: Vec<(AdapterKey, f32)> = mix.collect();
            adapters.extend(mix.iter().map(|(key, _)| *key));
            rank_tokens += 8 * mix.len() * span.tokens.len();
            let (start, size) = (span.start as usize, self.shape.page_tokens);
            let place = |at: usize| (span.pages[at / size], at % size);
            let mut content = match start {
                0 => origin(&mix, span.verified),
                _ => self.pages[&place(start - 1)],
            };
            // What was filled is exactly what this sequence would have computed, back to its first token.
            for (at, token) in span.tokens.iter().enumerate() {
                content = crypto::digest("toy", &[&content, &token.to_be_bytes()]);
                self.pages.insert(place(start + at), content);
            }
            match span.wanted {
                Wanted::All => self.scored += span.tokens.len(),
                Wanted::Last | Wanted::Nothing => (),
            }
            if last {
                tokens.push(said(&content, self.shape.vocabulary));
            }
            self.served.entry(request).or_default().push(self.steps);
        }
        self.adapters_seen_max = self.adapters_seen_max.max(adapters.len());
        self.rank_tokens_seen_max = self.rank_tokens_seen_max.max(rank_tokens);
        self.input(Input::Ran(tokens));
    }

    /// What the model says to this request when nobody else is there.
    pub(in crate::schedule) fn alone(&self, request: &ScheduleRequest) -> Vec<u32> {
        let mut content = origin(&request.adapters, request.verified);
        for token in &request.prompt {
            content = crypto::digest("toy", &[&content, &token.to_be_bytes()]);
        }
        let mut answer = Vec::new();
        let room = self
            .shape
            .context_tokens_max
            .min(self.shape.pages as usize * self.shape.page_tokens)
            - request.prompt.len();
        for _ in 0..room.min(request.tokens_max as usize) {
            let token = said(&content, self.shape.vocabulary);
            answer.push(token);
            content = crypto::digest("toy", &[&content, &token.to_be_bytes()]);
        }
        answer
    }
}

fn origin(mix: &[(AdapterKey, f32)], verified: bool) -> Content {
    let mut mix = mix.to_vec();
    mix.sort_by_key(|(key, weight)| (*key, weight.to_bits()));
    let bytes: Vec<u8> = mix
        .iter()
        .flat_map(|(key, weight)| [key.0.to_be_bytes().to_vec(), weight.to_bits().to_be_bytes().to_vec()].concat())
        .collect();
    crypto::digest("toy origin", &[&bytes, &[u8::from(verified)]])
}

fn said(content: &Content, vocabulary: usize) -> u32 {
    u32::from_be_bytes(content[..4].try_into().expect("four bytes")) % u32::try_from(vocabulary).expect("small")
}
