//! The engine: one thread that owns the model, and a handle that asks it.
//!
//! The thread takes what came, lets the scheduler plan, runs the step, chooses tokens, and says what follows; everything
//! slow but the step itself (tokenising, reading adapters) happens on other threads. A step that fails or panics costs
//! the requests in it; the model is built anew and the others go on.

mod metrics;
mod request;
mod run;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread::JoinHandle,
};

pub use metrics::{Histogram, Metrics};
pub use request::{AskError, Event, Named, Prompt, Request, Scored, Served};
use run::{Command, Queued, Run};

use compute::forward::{Forward, Shape};

use crate::{
    sample::text::Decode,
    schedule::{Ask, Limits, Refusal, RequestId, Tenant},
    tier::{Artifact, Tiers},
};

/// Commands that wait for the end of a step.
const INBOX: usize = 4096;

/// Text to tokens and back, for one model. Called on many threads.
pub trait Words: Decode {
    /// The tokens of a text, with those that the model wants at its start.
    fn encode(&self, text: &str) -> Result<Vec<u32>, String>;

    /// The text that stands for a conversation, given as the JSON of a chat request. It has all special tokens itself:
    /// [`Words::encode_chat`] adds none.
    fn chat(&self, request: &str) -> Result<String, String>;

    /// The tokens of what [`Words::chat`] wrote.
    fn encode_chat(&self, text: &str) -> Result<Vec<u32>, String>;
}

/// Builds the model, at start and again after it failed.
pub type Build = Box<dyn FnMut() -> Result<Box<dyn Forward>, String> + Send>;

/// What an engine is made of.
pub struct Setup {
    /// Bounds on what runs and waits.
    pub limits: Limits,
    /// The base model's content.
    pub base: [u8; 32],
    /// Tokens that end an answer.
    pub ends: Vec<u32>,
    /// Its tokenizer.
    pub words: Arc<dyn Words>,
    /// Its adapters.
    pub tiers: Arc<Tiers>,
    /// Its model.
    pub build: Build,
}

/// Called with each event of a request, on the engine's thread: it must not wait. False when nobody listens any more. There
/// are never more events than prompt and longest answer have tokens, and one.
pub type Events = Box<dyn Fn(Event) -> bool + Send>;

/// A running engine. When the last handle is dropped, it stops.
pub struct Engine {
    inbox: SyncSender<Command>,
    tiers: Arc<Tiers>,
    words: Arc<dyn Words>,
    shape: Shape,
    verifies: bool,
    next: AtomicU64,
    draining: AtomicBool,
    metrics: Arc<Mutex<Metrics>>,
    thread: Option<JoinHandle<()>>,
    end: Mutex<Option<Receiver<Infallible>>>,
}

impl Engine {
    /// Builds the model on a thread of its own and waits for it.
    pub fn start(setup: Setup) -> Result<Self, String> {
        let (inbox, commands) = mpsc::sync_channel(INBOX);
        let metrics = Arc::new(Mutex::new(Metrics::default()));
        let (tiers, words) = (Arc::clone(&setup.tiers), Arc::clone(&setup.words));
        let (ready, built) = mpsc::channel();
        let (alive, end) = mpsc::channel();
        let (own, shown) = (inbox.clone(), Arc::clone(&metrics));
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // Dropped when the thread ends, however it ends.
                let _alive = alive;
                match Run::new(setup, own, shown) {
                    Ok(mut run) => {
                        let told = ready.send(Ok((run.shape(), run.verifies())));
                        drop(ready);
                        if told.is_ok() {
                            run.until_stopped(&commands);
                        }
                    }
                    // Whoever waits for it may have gone.
                    Err(why) => drop(ready.send(Err(why))),
                }
            })
            .map_err(|error| format!("could not start the engine's thread: {error}"))?;
        let (shape, verifies) = built
            .recv()
            .map_err(|_| "the engine's thread ended before the model was built".to_owned())??;
        Ok(Self {
            inbox,
            tiers,
            words,
            shape,
            verifies,
            next: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            metrics,
            thread: Some(thread),
            end: Mutex::new(Some(end)),
        })
    }

    /// Takes a request. What it says goes to `events`, ending with [`Event::Done`] or [`Event::Refused`]. When nobody
    /// listens there any more, the request ends by itself.
    pub fn ask(&self, request: Request, events: Events) -> Result<RequestId, AskError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Refusal::Draining.into());
        }
        request.check(self.shape.vocabulary)?;
        if request.verified && !self.verifies {
            let why = "is true, and sums on this device depend on who else is served; leave it out, or serve the model with \
                       `--device cpu`";
            return Err(AskError::field("verified", why.to_owned()));
        }
        let artifacts = request
            .adapters
            .iter()
            .map(|(name, _)| {
                self.tiers
                    .resolve(name)
                    .map_err(|error| AskError::of_name(name, &error))
            })
            .collect::<Result<Vec<Arc<Artifact>>, _>>()?;
        let prompt = request.prompt.tokens(&*self.words)?;
        if let Some(token) = prompt.iter().find(|token| **token as usize >= self.shape.vocabulary) {
            return Err(AskError::field(
                "prompt",
                format!("token {token} is not in the vocabulary"),
            ));
        }
        let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let keys = artifacts.iter().map(|artifact| artifact.key());
        let weights = request.adapters.iter().map(|(_, weight)| *weight);
        let ask = Ask {
            request: id,
            tenant: Tenant(request.tenant.as_str().into()),
            adapters: keys.zip(weights).collect(),
            tokens_max: request.tokens_max.unwrap_or(u32::MAX),
            tokens_min: request.tokens_min,
            stop_tokens: request.stop_tokens.clone(),
            ignore_eos: request.ignore_eos,
            score_prompt: request.prompt_logprobs.is_some(),
            verified: request.verified,
            prompt,
            barred: Vec::new(),
        };
        let queued = Box::new(Queued {
            ask,
            request,
            artifacts,
            events,
        });
        // While the step that runs goes on, the adapters may come already.
        queued
            .artifacts
            .iter()
            .for_each(|artifact| self.tiers.prefetch(artifact));
        match self.inbox.try_send(Command::Ask(queued)) {
            Ok(()) => Ok(id),
            Err(TrySendError::Full(_)) => Err(AskError::Refused(Refusal::Full {
                waiting: INBOX,
                retry_after_ms: 1000,
            })),
            Err(TrySendError::Disconnected(_)) => Err(AskError::Stopped),
        }
    }

    /// Ends a request. One that ended already is left alone.
    pub fn cancel(&self, request: RequestId) {
        // A stopped engine has cancelled everything.
        let _ = self.inbox.send(Command::Cancel(request));
    }

    /// Its adapters.
    pub fn tiers(&self) -> &Arc<Tiers> {
        &self.tiers
    }

    /// Its tokenizer.
    pub fn words(&self) -> &Arc<dyn Words> {
        &self.words
    }

    /// The model's bounds.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What happened so far, and who is where.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics.lock().expect("counting does not panic").clone();
        metrics.tiers = self.tiers.counters();
        metrics
    }

    /// Takes nothing new, and returns when all that waited or ran is done.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let (done, drained) = mpsc::channel();
        if self.inbox.send(Command::Drain(done)).is_ok() {
            // An engine that stopped has nothing left either.
            let _ = drained.recv();
        }
    }

    /// A channel on which nothing comes, and that closes when the engine's thread has ended, however it ended. There is
    /// one for an engine.
    ///
    /// # Panics
    ///
    /// When it was taken before.
    pub fn end(&self) -> Receiver<Infallible> {
        let mut end = self.end.lock().expect("taking does not panic");
        end.take().expect("the end of an engine is awaited once")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.inbox.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // Its panic was reported when it happened, and every request told.
            let _ = thread.join();
        }
    }
}
