//! The scheduler: what runs in the next step and for whom. Requests, tenants, adapters and pages compete here alone.
//!
//! A pure state machine: it is told the time, takes one input and lists effects, in order. A request waits for its
//! adapters (cold), then for room (ready), then runs. A step is filled with one token of every sequence that is decoding,
//! then with chunks of prompts (chunked prefill); an adapter that is not loaded yet never delays a step. The scheduler
//! sees no logits, text or files.
//!
//! Room goes to the tenant that was served least, counted in tokens (the virtual token counter of Sheng et al., Fairness
//! in Serving Large Language Models, OSDI 2024). When rows or pages run out, the tenant with the most rows gives some
//! back; what its sequence computed stays in the prefix cache as long as pages allow, so little is computed twice.
//!
//! # Why not a library's continuous batching
//!
//! The one serving library on burn (burn-lm 0.0.1) has neither continuous batching nor a paged cache. Engines in other
//! languages would be a second program to install. And what decides here is particular: thousands of adapters that must be
//! loaded before a row can run, ranks that differ within a step, fairness across tenants. As a pure machine the scheduler is
//! tested under random inputs against a device without arithmetic: every request gets what it would get alone.

mod fair;
mod plan;
mod request;
mod run;
mod slots;
mod start;
mod step_time;
mod wait;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use protocol::Time;

use fair::Tenants;
pub use request::{AdapterInfo, AdapterKey, Finish, Limits, Refusal, RequestId, ScheduleRequest, Tenant, Usage};
use slots::Slots;
use step_time::StepTimeModel;

use compute::forward::{AdapterSlot, Mix, Shape, Span, Wanted};

use crate::pages::{Chain, Copy, Pages};

/// An event for the scheduler.
#[derive(Debug)]
pub enum Input {
    /// A new request. Its id was never used before.
    Submit(ScheduleRequest),
    /// The client has gone.
    Cancel(RequestId),
    /// The text of a completion reached a stop string.
    Stopped(RequestId),
    /// A completion cannot go on, and why.
    Fail(RequestId, String),
    /// A requested adapter is in host memory, or why it cannot be.
    Fetched(AdapterKey, Result<AdapterInfo, String>),
    /// An adapter could not be loaded into its slot, and why.
    Misfit(AdapterKey, String),
    /// Plan the next step. Ignored between [`Effect::Run`] and [`Input::Ran`].
    Tick,
    /// The step ran. One token for each span that wanted logits of its last position, in order.
    Ran(Vec<u32>),
    /// The step failed, and the device lost all pages and slots.
    Broken(String),
}

/// An action for the engine, to be performed in order. If performing one leads to a new input, the effects of that input
/// come after those already listed.
#[derive(Debug, PartialEq)]
pub enum Effect {
    Refused(RequestId, Refusal),
    /// Load an adapter into host memory; reply with [`Input::Fetched`].
    Fetch(AdapterKey),
    /// The scheduler no longer needs this adapter in host memory.
    Drop(AdapterKey),
    /// Load a fetched adapter into a slot.
    Load(AdapterSlot, AdapterKey),
    Unload(AdapterSlot),
    /// Copy positions from one page to another.
    Copy(Copy),
    /// Run [`Scheduler::spans`]; reply with [`Input::Ran`] or [`Input::Broken`].
    Run,
    /// The next token of a completion.
    Token(RequestId, u32),
    Finished(RequestId, Finish, Usage),
}

/// Queue lengths and cache occupancy, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Occupancy {
    /// Requests waiting for their adapters.
    pub cold: usize,
    /// Requests waiting for a row, slots or pages.
    pub ready: usize,
    pub running: usize,
    /// Adapters in slots of the device.
    pub resident: usize,
    /// Pages that are neither used nor cached.
    pub pages_free: usize,
    /// All pages.
    pub pages: usize,
    /// Pages in the prefix cache, used or not.
    pub pages_kept: usize,
    /// Cached pages evicted since the start.
    pub pages_evicted: u64,
    /// Adapters evicted from a slot since the start.
    pub slots_evicted: u64,
    /// Sequences preempted since the start.
    pub preempted: u64,
}

/// A span of the current step, and the request it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    pub request: RequestId,
    pub span: Span<'a>,
    /// The token after the span, if it is already known.
    pub next: Option<u32>,
    /// True if [`Input::Ran`] must have a token for it.
    pub last: bool,
}

/// One span of the step that is being planned or run.
#[derive(Clone, Debug)]
struct Work {
    request: RequestId,
    count: usize,
    wanted: Wanted,
    /// True if the span ends the known tokens, so a token is sampled from its last position.
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
    request: ScheduleRequest,
    /// Arrival number; kept when the sequence is preempted.
    order: u64,
    stage: Stage,
    /// Length of the prompt, with which `tokens` begins.
    prompt: usize,
    /// Prompt and completion.
    tokens: Vec<u32>,
    /// Number of positions whose keys and values are in pages.
    computed: usize,
    chain: Option<Chain>,
    mix: Vec<Mix>,
    rank: u32,
    /// The last step with tokens of this sequence.
    served_in: u64,
    /// Positions found in the prefix cache when it first ran; `None` until then.
    cached: Option<usize>,
    /// Prompt positions whose logits were computed for scoring.
    scored: usize,
    /// How often other requests started first because this one did not fit.
    passed: u32,
}

impl Sequence {
    fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    fn completion_len(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    fn is_decoding(&self) -> bool {
        self.pending() == 1 && self.completion_len() > 0
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt: self.prompt,
            cached: self.cached.unwrap_or(0),
            completion: self.completion_len(),
        }
    }
}

/// An adapter that waiting requests need.
#[derive(Debug, Default)]
struct WantedAdapter {
    fetch: FetchState,
    wanted_by: BTreeSet<RequestId>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum FetchState {
    #[default]
    NotRequested,
    Requested,
    Loaded(AdapterInfo),
}

/// The scheduler of one engine.
///
/// ```
/// use compute::forward::Shape;
/// use protocol::Time;
/// use serve::schedule::{Effect, Input, Limits, RequestId, ScheduleRequest, Scheduler, Tenant};
///
/// # let shape = Shape { context_tokens_max: 64, vocabulary: 100, page_tokens: 16, pages: 8, slots: 8 };
/// let mut scheduler = Scheduler::new(Limits::default(), shape, [0; 32], vec![2]);
/// let request = ScheduleRequest::new(RequestId(1), Tenant("alice".into()), vec![5, 6, 7]);
/// let mut effects = Vec::new();
/// scheduler.step(Time(0), Input::Submit(request), &mut effects);
/// scheduler.step(Time(0), Input::Tick, &mut effects);
/// assert_eq!(effects, [Effect::Run]);
/// // The model ran and token 2 was sampled: it ends completions of this model.
/// scheduler.step(Time(1), Input::Ran(vec![2]), &mut effects);
/// assert!(matches!(effects.last(), Some(Effect::Finished(RequestId(1), ..))));
/// ```
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    shape: Shape,
    base: [u8; 32],
    /// Tokens that end a completion.
    ends: Vec<u32>,
    pages: Pages,
    slots: Slots,
    tenants: Tenants,
    sequences: BTreeMap<RequestId, Sequence>,
    wanted_adapters: BTreeMap<AdapterKey, WantedAdapter>,
    running: BTreeSet<RequestId>,
    /// Arrival time of requests that never ran yet, by arrival number.
    waiting_since: BTreeMap<u64, (Time, RequestId)>,
    /// A ready request that was passed over too often: no other starts before it.
    head_of_line: Option<RequestId>,
    batch: Vec<Work>,
    step_time: StepTimeModel,
    in_flight: bool,
    asked: u64,
    steps: u64,
    preempted: u64,
    /// True if a waiting request may need an adapter that was not requested yet.
    fetch_due: bool,
    /// Requested adapters that did not arrive and are still needed.
    fetching: usize,
    /// Time of the last end of a request, and the mean gap between ends in microseconds: for retry advice.
    ended: (Time, u64),
}

impl Scheduler {
    /// A scheduler without requests. `base` is the hash of the base model, `ends` are the tokens that end a completion.
    pub fn new(limits: Limits, shape: Shape, base: [u8; 32], ends: Vec<u32>) -> Self {
        limits.check(&shape);
        Self {
            pages: Pages::new(shape.pages, shape.page_tokens),
            slots: Slots::new(shape.slots, limits.slot_bytes),
            tenants: Tenants::default(),
            sequences: BTreeMap::new(),
            wanted_adapters: BTreeMap::new(),
            running: BTreeSet::new(),
            waiting_since: BTreeMap::new(),
            head_of_line: None,
            batch: Vec::new(),
            step_time: StepTimeModel::default(),
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

    /// Takes one input and appends its effects to `todo`.
    pub fn step(&mut self, now: Time, input: Input, todo: &mut Vec<Effect>) {
        match input {
            Input::Submit(request) => self.submit(now, request, todo),
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

    /// Time of the next [`Input::Tick`]: at once while anything can run, else when the longest wait times out.
    pub fn deadline(&self) -> Option<Time> {
        if self.in_flight {
            return None;
        }
        if !self.running.is_empty() || self.tenants.ready() > 0 || self.fetch_due || self.is_stuck() {
            return Some(Time(0));
        }
        let (since, _) = self.waiting_since.values().next()?;
        Some(since.after_ms(self.limits.waiting_ms_max))
    }

    /// The spans of the step that [`Effect::Run`] asks for; empty if all of them were cancelled since.
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
                verified: sequence.request.verified,
            };
            Planned {
                request: work.request,
                next: sequence.tokens.get(end).copied(),
                last: work.last,
                span,
            }
        })
    }

    /// The index in the completion of the next token, and the tokens that are forbidden there.
    pub fn next_position(&self, request: RequestId) -> (u32, &[u32]) {
        let sequence = &self.sequences[&request];
        let index = u32::try_from(sequence.completion_len()).expect("a context fits in 32 bits");
        let barred = match index < sequence.request.tokens_min {
            true => &sequence.request.barred[..],
            false => &[],
        };
        (index, barred)
    }

    /// Returns true if any sequence runs.
    pub fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Returns true if there is no request at all.
    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Current queue lengths and cache occupancy.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
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

    fn submit(&mut self, now: Time, mut request: ScheduleRequest, todo: &mut Vec<Effect>) {
        assert!(
            !self.sequences.contains_key(&request.id),
            "request numbers are used once"
        );
        if let Err(refusal) = self.admit(&mut request) {
            todo.push(Effect::Refused(request.id, refusal));
            return;
        }
        if request.tokens_min > 0 {
            request.barred = self.ends.iter().chain(&request.stop_tokens).copied().collect();
        }
        let (id, order) = (request.id, self.asked);
        self.asked += 1;
        self.waiting_since.insert(order, (now, id));
        let sequence = Sequence {
            order,
            stage: Stage::Cold,
            prompt: request.prompt.len(),
            tokens: std::mem::take(&mut request.prompt),
            computed: 0,
            chain: None,
            mix: Vec::new(),
            rank: 0,
            served_in: 0,
            cached: None,
            scored: 0,
            passed: 0,
            request,
        };
        self.sequences.insert(id, sequence);
        self.enqueue(id);
        // Requested now and not when a step is planned, so that an adapter in host memory is there for that step.
        self.fetch(todo);
    }
}
