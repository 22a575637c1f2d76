//! What runs in the next step, and for whom: the one place where requests, tenants, adapters and pages compete.
//!
//! A machine: it is told the time, takes one input and lists what should happen, in order. A request waits for its
//! adapters (cold), then for room (ready), then runs. A step is filled with one token of every sequence that is
//! answering and with chunks of prompts; an adapter that is not there yet never holds a step up. Logits, text and files
//! are not known here.
//!
//! Room goes to the tenant that was served least, counted in tokens (the virtual token counter of Sheng et al., Fairness
//! in Serving Large Language Models, OSDI 2024). When rows or pages run out, the tenant that has most gives some back;
//! what its sequence computed stays known as long as pages allow, so that little is computed twice.

mod ask;
mod fair;
mod plan;
mod slots;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use protocol::Time;

pub use ask::{AdapterKey, Ask, Facts, Finish, Limits, Refusal, RequestId, Tenant, Usage};
use fair::Tenants;
use slots::Slots;

use crate::{
    forward::{AdapterSlot, Mix, Shape, Span, Wanted},
    pages::{Chain, ContentKey, Copy, Pages},
};

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A request came. Its number was never used before.
    Ask(Ask),
    /// Whoever asked has gone.
    Cancel(RequestId),
    /// The text of an answer reached a stop string.
    Stopped(RequestId),
    /// An answer cannot go on.
    Fail(RequestId, String),
    /// An adapter that was to be fetched is in memory, or why it cannot be.
    Fetched(AdapterKey, Result<Facts, String>),
    /// An adapter could not be put into its slot.
    Misfit(AdapterKey, String),
    /// Plan the next step. Between [`Effect::Run`] and [`Input::Ran`] there is none to plan.
    Tick,
    /// The step ran. One token for each span that wanted logits of its last position, in order.
    Ran(Vec<u32>),
    /// The step failed, and the device forgot everything.
    Broken(String),
}

/// What should happen, in this order. What follows from an input that an effect leads to comes behind the effects that
/// were listed before.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// The request is not served.
    Refused(RequestId, Refusal),
    /// Bring an adapter into memory; answer with [`Input::Fetched`].
    Fetch(AdapterKey),
    /// The fetched adapter is not needed in memory any more.
    Drop(AdapterKey),
    /// Put a fetched adapter into a slot.
    Load(AdapterSlot, AdapterKey),
    /// Empty a slot.
    Unload(AdapterSlot),
    /// Copy positions of a page.
    Copy(Copy),
    /// Run [`Scheduler::spans`]; answer with [`Input::Ran`] or [`Input::Broken`].
    Run,
    /// The answer goes on with this token.
    Token(RequestId, u32),
    /// The answer is over.
    Finished(RequestId, Finish, Usage),
}

/// Who is where, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Census {
    /// Requests whose adapters are on their way.
    pub cold: usize,
    /// Requests that wait for room.
    pub ready: usize,
    /// Sequences that run.
    pub running: usize,
    /// Adapters in slots.
    pub resident: usize,
    /// Pages without use or content.
    pub pages_free: usize,
    /// Pages there are.
    pub pages: usize,
    /// Pages kept for their content.
    pub pages_kept: usize,
    /// Kept pages given up, since the start.
    pub pages_evicted: u64,
    /// Adapters that left a slot for another, since the start.
    pub slots_evicted: u64,
    /// Sequences that gave their room back before they were done, since the start.
    pub preempted: u64,
}

/// A span of the step that runs, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The request.
    pub request: RequestId,
    /// What runs of it.
    pub span: Span<'a>,
    /// The token behind the span, if there is one.
    pub next: Option<u32>,
    /// Whether [`Input::Ran`] wants a token for it.
    pub last: bool,
}

/// One span of the step that is being planned or run.
#[derive(Clone, Debug)]
struct Work {
    request: RequestId,
    count: usize,
    wanted: Wanted,
    /// Whether a token comes of it.
    last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Cold,
    Ready,
    Running,
}

#[derive(Debug)]
struct Sequence {
    ask: Ask,
    /// Its place among all that ever asked; kept when it gives its room back.
    order: u64,
    stage: Stage,
    /// Length of the prompt, which `tokens` begins with.
    prompt: usize,
    /// Prompt and answer.
    tokens: Vec<u32>,
    /// Positions whose keys and values are in pages.
    computed: usize,
    chain: Option<Chain>,
    mix: Vec<Mix>,
    rank: u32,
    /// The step that it last had a part in.
    served_in: u64,
    /// Positions it found filled when it first ran.
    cached: Option<usize>,
    /// Prompt positions whose logits were given out.
    scored: usize,
    /// How often others started before it because it did not fit.
    passed: u32,
}

impl Sequence {
    fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    fn answered(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    fn answering(&self) -> bool {
        self.pending() == 1 && self.answered() > 0
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt: self.prompt,
            cached: self.cached.unwrap_or(0),
            answer: self.answered(),
        }
    }
}

/// An adapter that waiting requests want.
#[derive(Debug, Default)]
struct Held {
    fetch: Fetch,
    wanted_by: BTreeSet<RequestId>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Fetch {
    #[default]
    Not,
    Asked,
    Here(Facts),
}

/// Every request of one engine.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    shape: Shape,
    base: [u8; 32],
    /// Tokens that end an answer.
    ends: Vec<u32>,
    pages: Pages,
    slots: Slots,
    tenants: Tenants,
    sequences: BTreeMap<RequestId, Sequence>,
    held: BTreeMap<AdapterKey, Held>,
    running: BTreeSet<RequestId>,
    /// By order, those that never ran yet and since when they wait.
    patience: BTreeMap<u64, (Time, RequestId)>,
    /// A ready request that was passed too often: nobody starts before it.
    first: Option<RequestId>,
    batch: Vec<Work>,
    in_flight: bool,
    asked: u64,
    steps: u64,
    preempted: u64,
    /// A waiting request may want a fetch that was not asked for.
    fetch_due: bool,
    /// Fetches that were asked for and are wanted still.
    fetching: usize,
    /// How often a request ends: the last time, and the mean gap in microseconds.
    ended: (Time, u64),
}

impl Scheduler {
    /// No requests yet. `base` names the base model by content, `ends` are the tokens that end an answer.
    pub fn new(limits: Limits, shape: Shape, base: [u8; 32], ends: Vec<u32>) -> Self {
        limits.check(&shape);
        Self {
            pages: Pages::new(shape.pages, shape.page_tokens),
            slots: Slots::new(shape.slots, limits.slot_bytes),
            tenants: Tenants::default(),
            sequences: BTreeMap::new(),
            held: BTreeMap::new(),
            running: BTreeSet::new(),
            patience: BTreeMap::new(),
            first: None,
            batch: Vec::new(),
            in_flight: false,
            asked: 0,
            steps: 0,
            preempted: 0,
            fetch_due: false,
            fetching: 0,
            ended: (Time(0), 0),
            limits,
            shape,
            base,
            ends,
        }
    }

    /// Takes one input.
    pub fn step(&mut self, now: Time, input: Input, todo: &mut Vec<Effect>) {
        match input {
            Input::Ask(ask) => self.ask(now, ask, todo),
            Input::Cancel(request) => self.finish(now, request, Finish::Cancelled, todo),
            Input::Stopped(request) => self.finish(now, request, Finish::Stop, todo),
            Input::Fail(request, why) => self.finish(now, request, Finish::Failed(why), todo),
            Input::Fetched(adapter, result) => self.fetched(adapter, result, todo),
            Input::Misfit(adapter, why) => self.misfit(now, adapter, &why, todo),
            Input::Tick => {
                self.expire(now, todo);
                self.fetch(todo);
                if !self.in_flight {
                    self.plan(todo);
                }
            }
            Input::Ran(tokens) => self.ran(now, tokens, todo),
            Input::Broken(why) => self.broken(now, &why, todo),
        }
        assert!(self.running.len() <= self.limits.rows_max);
        assert!(self.in_flight || self.batch.is_empty());
    }

    /// When [`Input::Tick`] is next due: at once while anything can run, else when someone's patience ends.
    pub fn deadline(&self) -> Option<Time> {
        if self.in_flight {
            return None;
        }
        if !self.running.is_empty() || self.tenants.ready() > 0 || self.fetch_due || self.is_stuck() {
            return Some(Time(0));
        }
        let (since, _) = self.patience.values().next()?;
        Some(since.after_ms(self.limits.waiting_ms_max))
    }

    /// The spans of the step that [`Effect::Run`] asks for; none if all of them were taken back.
    pub fn spans(&self) -> impl Iterator<Item = Planned<'_>> {
        self.batch.iter().map(|work| {
            let sequence = &self.sequences[&work.request];
            let end = sequence.computed + work.count;
            let chain = sequence.chain.as_ref().expect("what runs has pages");
            let span = Span {
                tokens: &sequence.tokens[sequence.computed..end],
                start: u32::try_from(sequence.computed).expect("a context fits in 32 bits"),
                pages: &chain.pages()[..end.div_ceil(self.shape.page_tokens)],
                adapters: &sequence.mix,
                wanted: work.wanted,
                verified: sequence.ask.verified,
            };
            Planned {
                request: work.request,
                next: sequence.tokens.get(end).copied(),
                last: work.last,
                span,
            }
        })
    }

    /// The place of the token that comes next in an answer, and what may not come there.
    pub fn next_place(&self, request: RequestId) -> (u32, &[u32]) {
        let sequence = &self.sequences[&request];
        let index = u32::try_from(sequence.answered()).expect("a context fits in 32 bits");
        let barred = match index < sequence.ask.tokens_min {
            true => &sequence.ask.barred[..],
            false => &[],
        };
        (index, barred)
    }

    /// Whether nobody waits and nobody runs.
    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Who is where.
    pub fn census(&self) -> Census {
        Census {
            cold: self.tenants.cold(),
            ready: self.tenants.ready(),
            running: self.running.len(),
            resident: self.slots.resident(),
            pages_free: self.pages.free(),
            pages: self.pages.total(),
            pages_kept: self.pages.kept(),
            pages_evicted: self.pages.evicted(),
            slots_evicted: self.slots.evicted(),
            preempted: self.preempted,
        }
    }

    fn ask(&mut self, now: Time, mut ask: Ask, todo: &mut Vec<Effect>) {
        assert!(
            !self.sequences.contains_key(&ask.request),
            "request numbers are used once"
        );
        if let Err(refusal) = self.admit(&mut ask) {
            todo.push(Effect::Refused(ask.request, refusal));
            return;
        }
        if ask.tokens_min > 0 {
            ask.barred = self.ends.iter().chain(&ask.stop_tokens).copied().collect();
        }
        let (request, order) = (ask.request, self.asked);
        self.asked += 1;
        self.patience.insert(order, (now, request));
        let sequence = Sequence {
            order,
            stage: Stage::Cold,
            prompt: ask.prompt.len(),
            tokens: std::mem::take(&mut ask.prompt),
            computed: 0,
            chain: None,
            mix: Vec::new(),
            rank: 0,
            served_in: 0,
            cached: None,
            scored: 0,
            passed: 0,
            ask,
        };
        self.sequences.insert(request, sequence);
        self.wait(request);
    }

    /// Whether the request can be served at all, and there is room to wait. Limits it to what the device holds.
    fn admit(&self, ask: &mut Ask) -> Result<(), Refusal> {
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
    fn wait(&mut self, request: RequestId) {
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
    fn unwait(&mut self, request: RequestId, todo: &mut Vec<Effect>) {
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
    fn fetch(&mut self, todo: &mut Vec<Effect>) {
        let stuck = self.is_stuck();
        if !std::mem::take(&mut self.fetch_due) && !stuck {
            return;
        }
        let held = self.held.values().filter(|held| held.fetch != Fetch::Not).count();
        let room = self.limits.fetched_max.saturating_sub(held);
        let mut room = if stuck { room.max(self.limits.mix_max) } else { room };
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
    fn is_stuck(&self) -> bool {
        self.tenants.cold() > 0 && self.tenants.ready() == 0 && self.running.is_empty() && self.fetching == 0
    }

    fn fetched(&mut self, adapter: AdapterKey, result: Result<Facts, String>, todo: &mut Vec<Effect>) {
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
    fn warm(&mut self, request: RequestId) {
        let sequence = self.sequences.get_mut(&request).expect("who wants an adapter asked");
        let there = |adapter: &AdapterKey| {
            matches!(self.held[adapter].fetch, Fetch::Here(_)) || self.slots.facts(*adapter).is_some()
        };
        if sequence.stage == Stage::Cold && sequence.ask.adapters.iter().all(|(adapter, _)| there(adapter)) {
            sequence.stage = Stage::Ready;
            self.tenants.warm(&sequence.ask.tenant, sequence.order);
        }
    }

    fn misfit(&mut self, now: Time, adapter: AdapterKey, why: &str, todo: &mut Vec<Effect>) {
        let slot = self.slots.find(adapter);
        let uses = |sequence: &Sequence| match sequence.stage {
            // Another name of the same content sits in the same slot.
            Stage::Running => sequence.mix.iter().any(|part| Some(part.slot) == slot),
            Stage::Cold | Stage::Ready => sequence.ask.adapters.iter().any(|(key, _)| *key == adapter),
        };
        let users: Vec<RequestId> = self
            .sequences
            .values()
            .filter(|sequence| uses(sequence))
            .map(|sequence| sequence.ask.request)
            .collect();
        for request in users {
            match self.sequences[&request].stage {
                Stage::Running => self.finish(now, request, Finish::Failed(why.to_owned()), todo),
                Stage::Cold | Stage::Ready => self.refuse(request, Refusal::Adapter(why.to_owned()), todo),
            }
        }
        self.slots.forget(adapter);
    }

    /// Refuses who waited too long and never ran.
    fn expire(&mut self, now: Time, todo: &mut Vec<Effect>) {
        while let Some((since, request)) = self.patience.values().next().copied() {
            if now < since.after_ms(self.limits.waiting_ms_max) {
                return;
            }
            let waited_ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
            self.refuse(request, Refusal::Waited { waited_ms }, todo);
        }
    }

    /// Refuses a request that waits; one that already answered in part is told that it failed.
    fn refuse(&mut self, request: RequestId, refusal: Refusal, todo: &mut Vec<Effect>) {
        self.unwait(request, todo);
        let sequence = self.sequences.remove(&request).expect("who waits asked");
        self.patience.remove(&sequence.order);
        todo.push(match sequence.cached {
            None => Effect::Refused(request, refusal),
            Some(_) => Effect::Finished(request, Finish::Failed(refusal.to_string()), sequence.usage()),
        });
    }

    /// Ends a request wherever it is. One that ended already is left alone.
    fn finish(&mut self, now: Time, request: RequestId, finish: Finish, todo: &mut Vec<Effect>) {
        let Some(sequence) = self.sequences.get(&request) else {
            return;
        };
        match sequence.stage {
            Stage::Running => self.yield_room(request),
            Stage::Cold | Stage::Ready => self.unwait(request, todo),
        }
        let sequence = self.sequences.remove(&request).expect("seen above");
        self.patience.remove(&sequence.order);
        let gap = u64::try_from(now.since(self.ended.0).as_micros()).unwrap_or(u64::MAX);
        self.ended = (now, (self.ended.1 * 7 + gap.min(60_000_000)) / 8);
        todo.push(Effect::Finished(request, finish, sequence.usage()));
    }

    /// Takes row, pages and slots from a running sequence.
    fn yield_room(&mut self, request: RequestId) {
        let sequence = self.sequences.get_mut(&request).expect("who runs asked");
        let chain = sequence.chain.take().expect("what runs has pages");
        self.pages.end(chain, &sequence.tokens[..sequence.computed]);
        sequence.computed = 0;
        for part in sequence.mix.drain(..) {
            self.slots.unpin(part.slot);
        }
        self.tenants.stop(&sequence.ask.tenant);
        self.running.remove(&request);
        self.batch.retain(|work| work.request != request);
    }

    /// Takes the room of a running sequence for another's sake; it waits again, at its old place.
    fn preempt(&mut self, request: RequestId) {
        self.yield_room(request);
        self.preempted += 1;
        self.wait(request);
    }

    fn ran(&mut self, now: Time, tokens: Vec<u32>, todo: &mut Vec<Effect>) {
        self.in_flight = false;
        let mut tokens = tokens.into_iter();
        for work in std::mem::take(&mut self.batch) {
            let sequence = self
                .sequences
                .get_mut(&work.request)
                .expect("what ran was not taken back");
            sequence.computed += work.count;
            if work.wanted == Wanted::All {
                sequence.scored = sequence.computed;
            }
            let chain = sequence.chain.as_mut().expect("what runs has pages");
            self.pages.filled(chain, &sequence.tokens[..sequence.computed]);
            if !work.last {
                continue;
            }
            let token = tokens.next().expect("a token for each span that wanted one");
            if sequence.ask.tokens_max == 0 {
                self.finish(now, work.request, Finish::Length, todo);
                continue;
            }
            sequence.tokens.push(token);
            let ask = &sequence.ask;
            if (!ask.ignore_eos && self.ends.contains(&token)) || ask.stop_tokens.contains(&token) {
                self.finish(now, work.request, Finish::Stop, todo);
                continue;
            }
            todo.push(Effect::Token(work.request, token));
            if sequence.answered() >= sequence.ask.tokens_max as usize {
                self.finish(now, work.request, Finish::Length, todo);
            }
        }
        assert!(tokens.next().is_none(), "no token that nobody wanted");
    }

    /// Fails those whose step it was, and starts the others over.
    fn broken(&mut self, now: Time, why: &str, todo: &mut Vec<Effect>) {
        self.in_flight = false;
        let failed: Vec<RequestId> = self.batch.iter().map(|work| work.request).collect();
        for request in failed {
            self.finish(now, request, Finish::Failed(why.to_owned()), todo);
        }
        let others: Vec<RequestId> = self.running.iter().copied().collect();
        for request in &others {
            self.yield_room(*request);
        }
        self.pages.clear();
        self.slots.clear();
        for request in others {
            self.wait(request);
        }
        // Who was ready because its adapter sat in a slot is cold now.
        let waiting: Vec<RequestId> = self.sequences.keys().copied().collect();
        for request in waiting {
            self.chill(request);
        }
    }

    /// Moves a ready request to the cold if an adapter of it is neither in a slot nor in memory.
    fn chill(&mut self, request: RequestId) -> bool {
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

    /// The name of what a sequence computes, and its mix, both in one order whatever the order in which it was asked for.
    fn content(&self, sequence: &Sequence, parts: &[(Facts, AdapterSlot, f32)]) -> (ContentKey, Vec<Mix>) {
        let mut parts = parts.to_vec();
        parts.sort_by(|a, b| a.0.hash.cmp(&b.0.hash).then(a.2.total_cmp(&b.2)));
        let named: Vec<([u8; 32], u32)> = parts.iter().map(|part| (part.0.hash.0.0, part.2.to_bits())).collect();
        let mix = parts.iter().map(|(_, slot, weight)| Mix {
            slot: *slot,
            weight: *weight,
        });
        (
            ContentKey::new(&self.base, &named, sequence.ask.verified),
            mix.collect(),
        )
    }
}
