//! The inference engine: one thread that owns the model, and a handle that submits requests to it.
//!
//! The thread takes the commands that arrived, lets the scheduler plan, runs the step, samples tokens and emits events.
//! Everything slow besides the step (tokenising, reading adapters) happens on other threads. A step that fails or panics
//! costs the requests in it; the model is built again and the others go on.
//!
//! # Why not one thread per request, or async
//!
//! A device runs one step at a time, so a second thread could only wait for the first. One owner of the model needs no
//! lock around it, and burn's streams are per thread: work that hops between threads changes its stream
//! (`compute`'s notes on cubecl).

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
pub use request::{Event, PositionLogprobs, Prompt, Request, SubmitError, TokenLogprob, UsedAdapter};
use run::{Command, Queued, Run};

use compute::forward::{Forward, Shape};

use crate::{
    sample::text::Detokenize,
    schedule::{Limits, Refusal, RequestId, ScheduleRequest, Tenant},
    tier::{Artifact, Tiers},
};

/// Most commands waiting for the current step to end; a further request is refused with [`Refusal::Full`].
const INBOX: usize = 4096;

/// Text to tokens and back for one model: tokenizer and chat template. Called on many threads.
pub trait TextCodec: Detokenize {
    /// The tokens of a text, with those that the model expects at its start (BOS).
    fn encode(&self, text: &str) -> Result<Vec<u32>, String>;

    /// Renders a conversation, given as the JSON of a chat request, with the chat template. The text contains all special
    /// tokens; [`TextCodec::encode_chat`] adds none.
    fn chat(&self, request: &str) -> Result<String, String>;

    /// Tokenises what [`TextCodec::chat`] rendered.
    fn encode_chat(&self, text: &str) -> Result<Vec<u32>, String>;
}

/// Builds the model: at start, and again after a step failed.
pub type Build = Box<dyn FnMut() -> Result<Box<dyn Forward>, String> + Send>;

/// The parts of an engine; [`crate::loader::parts`] makes them for a stored model.
pub struct Setup {
    pub limits: Limits,
    /// The hash of the base model; cached pages are named by it.
    pub base: [u8; 32],
    /// Tokens that end a completion (EOS).
    pub ends: Vec<u32>,
    pub codec: Arc<dyn TextCodec>,
    pub tiers: Arc<Tiers>,
    pub build: Build,
}

/// Receives each event of a request, on the engine's thread: it must not block. Returns false when nobody listens any
/// more. A request has at most one event for each token of its prompt and longest completion, and one more.
pub type Events = Box<dyn Fn(Event) -> bool + Send>;

/// A running engine. Dropping it stops the thread and ends every request.
///
/// Requests are submitted from any thread; events arrive through the callback given with them.
pub struct Engine {
    inbox: SyncSender<Command>,
    tiers: Arc<Tiers>,
    codec: Arc<dyn TextCodec>,
    shape: Shape,
    verifies: bool,
    next: AtomicU64,
    draining: AtomicBool,
    metrics: Arc<Mutex<Metrics>>,
    thread: Option<JoinHandle<()>>,
    end: Mutex<Option<Receiver<Infallible>>>,
}

impl Engine {
    /// Builds the model on a thread of its own and waits until it is built.
    pub fn start(setup: Setup) -> Result<Self, String> {
        let (inbox, commands) = mpsc::sync_channel(INBOX);
        let metrics = Arc::new(Mutex::new(Metrics::default()));
        let (tiers, codec) = (Arc::clone(&setup.tiers), Arc::clone(&setup.codec));
        let (ready, built) = mpsc::channel();
        let (alive, end) = mpsc::channel();
        let (own, shown) = (inbox.clone(), Arc::clone(&metrics));
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // Dropped when the thread ends, even by a panic: that closes the channel of [`Engine::end`].
                let _alive = alive;
                match Run::new(setup, own, shown) {
                    Ok(mut run) => {
                        let told = ready.send(Ok((run.shape(), run.verifies())));
                        drop(ready);
                        if told.is_ok() {
                            run.until_stopped(&commands);
                        }
                    }
                    // The thread that started us may have gone.
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
            codec,
            shape,
            verifies,
            next: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            metrics,
            thread: Some(thread),
            end: Mutex::new(Some(end)),
        })
    }

    /// Submits a request. Its events go to `events`, ending with [`Event::Done`] or [`Event::Refused`]. If `events`
    /// returns false, the request is cancelled.
    ///
    /// # Errors
    ///
    /// At once for a malformed request, an unknown adapter, a full inbox, or an engine that drains or stopped.
    pub fn submit(&self, request: Request, events: Events) -> Result<RequestId, SubmitError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Refusal::Draining.into());
        }
        request.check(self.shape.vocabulary)?;
        if request.verified && !self.verifies {
            let why = "is true, and sums on this device depend on who else is served; leave it out, or serve the model with \
                       `--device cpu`";
            return Err(SubmitError::invalid("verified", why.to_owned()));
        }
        let artifacts = request
            .adapters
            .iter()
            .map(|(name, _)| {
                self.tiers
                    .resolve(name)
                    .map_err(|error| SubmitError::unknown_adapter(name, &error))
            })
            .collect::<Result<Vec<Arc<Artifact>>, _>>()?;
        let prompt = request.prompt.tokens(&*self.codec)?;
        if let Some(token) = prompt.iter().find(|token| **token as usize >= self.shape.vocabulary) {
            return Err(SubmitError::invalid(
                "prompt",
                format!("token {token} is not in the vocabulary"),
            ));
        }
        let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let keys = artifacts.iter().map(|artifact| artifact.key());
        let weights = request.adapters.iter().map(|(_, weight)| *weight);
        let schedule = ScheduleRequest {
            id,
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
            schedule,
            request,
            artifacts,
            events,
        });
        // Loading starts while the current step still runs.
        queued
            .artifacts
            .iter()
            .for_each(|artifact| self.tiers.prefetch(artifact));
        match self.inbox.try_send(Command::Submit(queued)) {
            Ok(()) => Ok(id),
            Err(TrySendError::Full(_)) => Err(SubmitError::Refused(Refusal::Full {
                waiting: INBOX,
                retry_after_ms: 1000,
            })),
            Err(TrySendError::Disconnected(_)) => Err(SubmitError::Stopped),
        }
    }

    /// Cancels a request. Does nothing if it already ended.
    pub fn cancel(&self, request: RequestId) {
        // A stopped engine has cancelled everything.
        let _ = self.inbox.send(Command::Cancel(request));
    }

    /// The adapters that this engine serves.
    pub fn tiers(&self) -> &Arc<Tiers> {
        &self.tiers
    }

    /// The tokenizer and chat template of the base model.
    pub fn codec(&self) -> &Arc<dyn TextCodec> {
        &self.codec
    }

    /// The bounds of the model: vocabulary, context, pages, slots.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Counters since the start, and the current queue and cache occupancy.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics.lock().expect("counting does not panic").clone();
        metrics.tiers = self.tiers.counters();
        metrics
    }

    /// Refuses new requests and returns when all waiting and running ones are done.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let (done, drained) = mpsc::channel();
        if self.inbox.send(Command::Drain(done)).is_ok() {
            // An engine that stopped has nothing left either.
            let _ = drained.recv();
        }
    }

    /// A channel that never carries a value and closes when the engine's thread ended, for whatever reason. There is one
    /// per engine.
    ///
    /// # Panics
    ///
    /// Panics if it was taken before.
    pub fn end(&self) -> Receiver<Infallible> {
        let mut end = self.end.lock().expect("taking does not panic");
        end.take().expect("the end of an engine is awaited once")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.inbox.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened, and every request was told.
            let _ = thread.join();
        }
    }
}
