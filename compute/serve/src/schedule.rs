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
mod pace;
mod plan;
mod run;
mod slots;
mod start;
mod wait;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use protocol::Time;

pub use ask::{AdapterKey, Ask, Facts, Finish, Limits, Refusal, RequestId, Tenant, Usage};
use fair::Tenants;
use pace::Pace;
use slots::Slots;

use compute::forward::{AdapterSlot, Mix, Shape, Span, Wanted};

use crate::pages::{Chain, Copy, Pages};

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
    pace: Pace,
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
            pace: Pace::default(),
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
                    self.plan(now, todo);
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

    /// Whether anybody runs.
    pub fn is_running(&self) -> bool {
        !self.running.is_empty()
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
        // Asked for now and not when a step is planned: what is in memory already is there for that step.
        self.fetch(todo);
    }
}
