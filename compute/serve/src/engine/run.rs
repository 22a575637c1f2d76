//! The engine's thread: takes commands, feeds the scheduler, performs its effects, runs the model.

mod completion;

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError},
    },
    time::{Duration, Instant},
};

use compute::{
    forward::{AdapterSlot, Forward, Shape, Span, StepError},
    lora::{Adapter, AdapterHash},
};
use protocol::Time;

use completion::Completion;

use super::{Build, Event, Events, Metrics, Request, Setup, TextCodec};
use crate::{
    schedule::{AdapterInfo, AdapterKey, Effect, Finish, Input, RequestId, ScheduleRequest, Scheduler, Usage},
    tier::{Artifact, Tiers},
};

/// Failed attempts in a row to rebuild the model before the engine gives up.
const BUILDS_MAX: u32 = 3;
/// Longest wait while nothing is due, so that a jump of the clock is noticed.
const REST: Duration = Duration::from_secs(1);

pub(super) struct Queued {
    pub(super) schedule: ScheduleRequest,
    pub(super) request: Request,
    pub(super) artifacts: Vec<Arc<Artifact>>,
    pub(super) events: Events,
}

pub(super) enum Command {
    Submit(Box<Queued>),
    Cancel(RequestId),
    Fetched(AdapterKey, Result<Arc<Adapter>, String>),
    Drain(Sender<()>),
    Stop,
}

pub(super) struct Run {
    scheduler: Scheduler,
    forward: Box<dyn Forward>,
    build: Build,
    codec: Arc<dyn TextCodec>,
    tiers: Arc<Tiers>,
    inbox: SyncSender<Command>,
    completions: BTreeMap<RequestId, Completion>,
    /// Adapters in host memory that the scheduler asked for and has not dropped.
    fetched: BTreeMap<AdapterKey, Arc<Adapter>>,
    slots: BTreeMap<AdapterSlot, AdapterHash>,
    logits: Vec<f32>,
    todo: Vec<Effect>,
    queue: VecDeque<Effect>,
    drains: Vec<Sender<()>>,
    metrics: Metrics,
    shown: Arc<Mutex<Metrics>>,
    started: Instant,
    stopped: bool,
    /// Reason why the engine cannot go on: the model could not be rebuilt.
    fault: Option<String>,
}

impl Run {
    pub(super) fn new(
        mut setup: Setup,
        inbox: SyncSender<Command>,
        shown: Arc<Mutex<Metrics>>,
    ) -> Result<Self, String> {
        let forward = build(&mut setup.build)?;
        Ok(Self {
            scheduler: Scheduler::new(setup.limits, forward.shape(), setup.base, setup.ends),
            forward,
            build: setup.build,
            codec: setup.codec,
            tiers: setup.tiers,
            inbox,
            completions: BTreeMap::new(),
            fetched: BTreeMap::new(),
            slots: BTreeMap::new(),
            logits: Vec::new(),
            todo: Vec::new(),
            queue: VecDeque::new(),
            drains: Vec::new(),
            metrics: Metrics::default(),
            shown,
            started: Instant::now(),
            stopped: false,
            fault: None,
        })
    }

    pub(super) fn shape(&self) -> Shape {
        self.forward.shape()
    }

    pub(super) fn verifies(&self) -> bool {
        self.forward.verifies()
    }

    pub(super) fn until_stopped(&mut self, commands: &Receiver<Command>) {
        while !self.stopped {
            self.take(commands);
            self.tiers.yield_to_steps(self.scheduler.is_running());
            self.input(Input::Tick);
            self.perform();
            self.show();
            if self.scheduler.is_idle() {
                for done in self.drains.drain(..) {
                    // The caller of `drain` may have evicted.
                    let _ = done.send(());
                }
            }
        }
        let why = match &self.fault {
            Some(fault) => format!("the engine cannot go on: {fault}"),
            None => "the engine was stopped".to_owned(),
        };
        for completion in std::mem::take(&mut self.completions).into_values() {
            let finish = Finish::Failed(why.clone());
            completion.say(completion.done(finish, String::new(), Usage::default()));
        }
    }

    fn now(&self) -> Time {
        Time(0).after(self.started.elapsed())
    }

    /// Takes all commands that arrived; waits for one if nothing is due.
    fn take(&mut self, commands: &Receiver<Command>) {
        let wait = match self.scheduler.deadline() {
            Some(due) => due.since(self.now()).min(REST),
            None => REST,
        };
        if !wait.is_zero() {
            match commands.recv_timeout(wait) {
                Ok(command) => self.command(command),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => self.stopped = true,
            }
        }
        while !self.stopped {
            match commands.try_recv() {
                Ok(command) => self.command(command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.stopped = true,
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Submit(queued) => self.submit(*queued),
            Command::Cancel(request) => self.input(Input::Cancel(request)),
            Command::Fetched(adapter, result) => self.arrived(adapter, result),
            Command::Drain(done) => self.drains.push(done),
            Command::Stop => self.stopped = true,
        }
        self.perform();
    }

    fn submit(&mut self, queued: Queued) {
        let (schedule, completion) = Completion::begin(queued, self.now());
        self.completions.insert(schedule.id, completion);
        self.input(Input::Submit(schedule));
    }

    fn arrived(&mut self, adapter: AdapterKey, result: Result<Arc<Adapter>, String>) {
        let info = result.map(|arrived| {
            let info = AdapterInfo {
                hash: arrived.hash(),
                rank: u32::try_from(arrived.rank()).unwrap_or(u32::MAX),
                bytes: arrived.bytes(),
            };
            self.fetched.insert(adapter, arrived);
            info
        });
        self.input(Input::Fetched(adapter, info));
    }

    fn input(&mut self, input: Input) {
        self.scheduler.step(self.now(), input, &mut self.todo);
        self.queue.extend(self.todo.drain(..));
    }

    fn perform(&mut self) {
        while let Some(effect) = self.queue.pop_front() {
            match effect {
                Effect::Refused(request, refusal) => {
                    self.metrics.refused += 1;
                    self.show();
                    if let Some(completion) = self.completions.remove(&request) {
                        completion.say(Event::Refused(refusal.into()));
                    }
                }
                Effect::Fetch(adapter) => self.fetch(adapter),
                Effect::Drop(adapter) => {
                    self.fetched.remove(&adapter);
                    self.tiers.trim();
                }
                Effect::Load(slot, adapter) => self.load(slot, adapter),
                Effect::Unload(slot) => self.unload(slot),
                Effect::Copy(copy) => {
                    let copied = guard(|| self.forward.copy_page(copy.from, copy.to, copy.tokens));
                    if let Err(error) = copied {
                        self.broken(&error.to_string());
                    }
                }
                Effect::Run => self.run(),
                Effect::Token(request, token) => self.token(request, token),
                Effect::Finished(request, finish, usage) => self.finished(request, finish, usage),
            }
        }
    }

    fn fetch(&mut self, adapter: AdapterKey) {
        let artifact = self
            .completions
            .values()
            .flat_map(|completion| &completion.artifacts)
            .find(|one| one.key() == adapter);
        let Some(artifact) = artifact else {
            return self.input(Input::Fetched(adapter, Err("nobody wants it any more".to_owned())));
        };
        let inbox = self.inbox.clone();
        let reply = Box::new(move |result| {
            // An engine that stopped has dropped the receiver; nobody needs the adapter then.
            let _ = inbox.send(Command::Fetched(adapter, result));
        });
        if let Some(there) = self.tiers.fetch(artifact, reply) {
            self.arrived(adapter, Ok(there));
        }
    }

    fn load(&mut self, slot: AdapterSlot, adapter: AdapterKey) {
        let fetched = Arc::clone(self.fetched.get(&adapter).expect("what is loaded was fetched"));
        match guard(|| self.forward.load(slot, &fetched)) {
            Ok(()) => {
                self.metrics.slot_loads += 1;
                self.slots.insert(slot, fetched.hash());
                self.tiers.on_device(fetched.hash(), true);
            }
            Err(error @ StepError::Misfit { .. }) => self.input(Input::Misfit(adapter, error.to_string())),
            Err(error @ (StepError::Device(_) | StepError::Changed(_))) => self.broken(&error.to_string()),
        }
    }

    fn unload(&mut self, slot: AdapterSlot) {
        if let Some(hash) = self.slots.remove(&slot) {
            self.forward.unload(slot);
            self.tiers.on_device(hash, false);
        }
    }

    fn run(&mut self) {
        let spans: Vec<Span<'_>> = self.scheduler.spans().map(|planned| planned.span).collect();
        if spans.is_empty() {
            // All spans were preempted or cancelled since the step was planned.
            return self.input(Input::Ran(Vec::new()));
        }
        let began = Instant::now();
        let logits = &mut self.logits;
        let ran = guard(|| self.forward.step(&spans, logits));
        drop(spans);
        self.metrics.step.add(began.elapsed());
        match ran.and_then(|()| self.choose()) {
            Ok((tokens, mute)) => {
                self.input(Input::Ran(tokens));
                for request in mute {
                    let why = "the model gave no number for any token".to_owned();
                    self.input(Input::Fail(request, why));
                }
            }
            Err(error) => self.broken(&error.to_string()),
        }
    }

    /// Rebuilds the model after the device failed. If that fails too, the engine stops.
    fn broken(&mut self, why: &str) {
        self.queue.retain(|effect| {
            !matches!(
                effect,
                Effect::Run | Effect::Load(..) | Effect::Unload(_) | Effect::Copy(_)
            )
        });
        for (_, hash) in std::mem::take(&mut self.slots) {
            self.tiers.on_device(hash, false);
        }
        self.metrics.rebuilds += 1;
        self.input(Input::Broken(why.to_owned()));
        for attempt in 1.. {
            match build(&mut self.build) {
                Ok(forward) => {
                    assert_eq!(
                        forward.shape(),
                        self.forward.shape(),
                        "a model built again is the same model"
                    );
                    self.forward = forward;
                    return;
                }
                Err(_) if attempt < BUILDS_MAX => (),
                Err(why) => {
                    self.fault = Some(why);
                    self.stopped = true;
                    return;
                }
            }
        }
    }

    fn show(&mut self) {
        self.metrics.occupancy = self.scheduler.occupancy();
        self.shown
            .lock()
            .expect("counting does not panic")
            .clone_from(&self.metrics);
    }
}

fn build(build: &mut Build) -> Result<Box<dyn Forward>, String> {
    catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|panic| Err(format!("building the model {}", said(&*panic))))
}

/// Runs `step` and turns a panic into a device failure: after one, the state of the device is unknown.
fn guard(step: impl FnOnce() -> Result<(), StepError>) -> Result<(), StepError> {
    catch_unwind(AssertUnwindSafe(step))
        .unwrap_or_else(|panic| Err(StepError::Device(format!("a step {}", said(&*panic)))))
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a word"))
}
