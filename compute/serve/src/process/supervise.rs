//! The parent's side: keeps one child running and carries messages.
//!
//! A thread of its own starts the child, reads its messages, and restarts it. The thread lives as long as the supervisor,
//! because the kernel kills the child when the *thread* that started it ends (PR_SET_PDEATHSIG). When a child dies, every
//! request in flight fails; none is retried, because it may have been the cause.

use std::{
    collections::HashMap,
    ffi::OsString,
    io::{BufReader, BufWriter, Write},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc::UnboundedReceiver, mpsc::UnboundedSender, oneshot, watch};

use super::frame::{
    Admin, AdminError, EngineSetup, FromEngine, Ready, Reply, ToEngine, VERSION, read_frame, write_frame,
};
use crate::{
    engine::{Event, Request, SubmitError},
    schedule::{Finish, Refusal, Usage},
};

/// Most messages waiting to be written to the child; a further request is refused.
const CALLS_MAX: usize = 4096;
/// Back-off of a child that fails at start, doubling. A child that was ready is restarted at once.
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(30);
/// Suggested retry delay while the child starts.
const RETRY_MS: u64 = 500;

/// The command line that starts a child: a program, and arguments that lead to [`super::child_main`].
#[derive(Clone, Debug)]
pub struct Command {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

/// State of the child process.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Started and not ready yet.
    Starting,
    Ready(Arc<Ready>),
    /// Ended, and why. It will be started again.
    Down(String),
    /// Stopped for good.
    Stopped,
}

#[derive(Default)]
struct Link {
    /// The writer's queue, while the child is ready.
    calls: Option<SyncSender<ToEngine>>,
    streams: HashMap<u64, UnboundedSender<Event>>,
    replies: HashMap<u64, oneshot::Sender<Result<Reply, AdminError>>>,
    next: u64,
    /// Reason why the last child never became ready.
    start_error: Option<String>,
    child: Option<Child>,
    stopping: bool,
}

struct Shared {
    link: Mutex<Link>,
    rest: Condvar,
    state: watch::Sender<State>,
}

/// Keeps an engine running in a process of its own. Dropping it kills the child.
///
/// Requests are refused with [`SubmitError::Starting`] until the child is ready, and again while it restarts.
pub struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The events of one request. Dropping it cancels the request.
pub struct EventStream {
    number: u64,
    events: UnboundedReceiver<Event>,
    ended: bool,
    shared: Arc<Shared>,
}

impl Supervisor {
    /// Starts the child. Requests are refused until it is ready.
    pub fn start(command: Command, setup: EngineSetup) -> Self {
        let shared = Arc::new(Shared {
            link: Mutex::default(),
            rest: Condvar::new(),
            state: watch::Sender::new(State::Starting),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("engine-supervisor".to_owned())
            .spawn(move || own.supervise(&command, &setup))
            .expect("the system starts a thread");
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Watches the state of the child.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Waits until the child is ready. An error says why a start failed; the supervisor keeps trying all the same.
    pub async fn ready(&self) -> Result<Arc<Ready>, String> {
        let mut state = self.state();
        loop {
            match &*state.borrow_and_update() {
                State::Ready(ready) => return Ok(Arc::clone(ready)),
                State::Down(why) => return Err(why.clone()),
                State::Stopped => return Err("the engine was stopped".to_owned()),
                State::Starting => (),
            }
            if state.changed().await.is_err() {
                return Err("the engine was stopped".to_owned());
            }
        }
    }

    /// Submits a request to the engine.
    pub fn submit(&self, request: Request) -> Result<EventStream, SubmitError> {
        let mut link = self.shared.lock();
        let calls = link.calls.clone().ok_or_else(|| link.not_ready())?;
        link.next += 1;
        let number = link.next;
        calls
            .try_send(ToEngine::Submit(number, Box::new(request)))
            .map_err(|error| match error {
                TrySendError::Full(_) => SubmitError::Refused(Refusal::Full {
                    waiting: CALLS_MAX,
                    retry_after_ms: 1000,
                }),
                TrySendError::Disconnected(_) => SubmitError::Starting {
                    retry_after_ms: RETRY_MS,
                },
            })?;
        // Unbounded, yet bounded: a request never has more events than tokens.
        let (sender, events) = tokio::sync::mpsc::unbounded_channel();
        link.streams.insert(number, sender);
        Ok(EventStream {
            number,
            events,
            ended: false,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Reason why a request cannot be taken while the engine is not ready.
    pub fn not_ready(&self) -> SubmitError {
        self.shared.lock().not_ready()
    }

    /// Runs an administrative command. If the future is dropped half-way, the command may or may not have been done.
    pub async fn admin(&self, admin: Admin) -> Result<Reply, AdminError> {
        let (reply, replied) = oneshot::channel();
        {
            let mut link = self.shared.lock();
            let down = |why: &str| AdminError::Down(why.to_owned());
            let calls = link.calls.clone().ok_or_else(|| down("it is starting"))?;
            link.next += 1;
            let number = link.next;
            calls
                .try_send(ToEngine::Admin(number, admin))
                .map_err(|_| down("it is busy"))?;
            link.replies.insert(number, reply);
        }
        replied
            .await
            .unwrap_or_else(|_| Err(AdminError::Down("it stopped before it answered".to_owned())))
    }

    /// The process id of the child, while there is one.
    pub fn process_id(&self) -> Option<u32> {
        self.shared.lock().child.as_ref().map(Child::id)
    }

    /// Lets the engine finish its requests, for at most `grace`, and stops it for good.
    pub async fn stop(self, grace: Duration) {
        // The outcome of draining makes no difference now.
        let _ = tokio::time::timeout(grace, self.admin(Admin::Drain)).await;
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            // The thread was told to end; a panic of it was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl EventStream {
    /// The next event, or `None` after the last.
    pub async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.events.recv().await;
        self.ended = event.as_ref().is_none_or(Event::is_last);
        event
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let mut link = self.shared.lock();
        if link.streams.remove(&self.number).is_some()
            && let Some(calls) = &link.calls
        {
            // If the queue is full, the engine is not told and runs the request to its end, which is bounded.
            let _ = calls.try_send(ToEngine::Cancel(self.number));
        }
    }
}

impl Link {
    fn not_ready(&self) -> SubmitError {
        let retry_after_ms = RETRY_MS;
        match self.start_error.clone() {
            Some(why) => SubmitError::CannotStart { why, retry_after_ms },
            None => SubmitError::Starting { retry_after_ms },
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().expect("nothing panics with the link locked")
    }

    fn end(&self) {
        let mut link = self.lock();
        link.stopping = true;
        link.calls = None;
        if let Some(child) = &mut link.child {
            // Killing a child that already ended fails, which is fine.
            let _ = child.kill();
        }
        self.rest.notify_all();
    }

    fn supervise(&self, command: &Command, setup: &EngineSetup) {
        let mut rest = REST_MIN;
        loop {
            let (was_ready, why) = self.run(command, setup);
            self.lock().start_error = (!was_ready).then(|| why.clone());
            // First recorded as down, then announced: a watcher may ask for the reason at once.
            self.state.send_replace(State::Down(why.clone()));
            self.fail_all(&why);
            rest = if was_ready { REST_MIN } else { (rest * 2).min(REST_MAX) };
            let mut link = self.lock();
            if !link.stopping {
                // A child that was ready comes back at once; one that never was waits for the back-off.
                let until = Instant::now() + if was_ready { Duration::ZERO } else { rest };
                while !link.stopping && Instant::now() < until {
                    let left = until.saturating_duration_since(Instant::now());
                    let waited = self.rest.wait_timeout(link, left);
                    link = waited.expect("nothing panics with the link locked").0;
                }
            }
            if link.stopping {
                self.state.send_replace(State::Stopped);
                return;
            }
            self.state.send_replace(State::Starting);
        }
    }

    /// Runs one child to its end. Returns true if it was ever ready, and why it ended.
    fn run(&self, command: &Command, setup: &EngineSetup) -> (bool, String) {
        let (ours, theirs) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => return (false, format!("could not make a socket for the engine: {error}")),
        };
        {
            let mut link = self.lock();
            if link.stopping {
                return (false, "stopped".to_owned());
            }
            let started = std::process::Command::new(&command.program)
                .args(&command.args)
                // Its own process group: Ctrl-C goes to the parent, which lets completions end first.
                .process_group(0)
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null())
                .spawn();
            match started {
                Ok(child) => link.child = Some(child),
                Err(error) => return (false, format!("could not start {}: {error}", command.program.display())),
            }
        }
        let (was_ready, mut why) = self.converse(ours, setup);
        let child = self.lock().child.take();
        if let Some(mut child) = child {
            // A child without its socket is of no use.
            let _ = child.kill();
            match child.wait() {
                Ok(status) if why.is_empty() => why = ended(status),
                Ok(_) => (),
                Err(error) => why = format!("the engine ended, and how is not known: {error}"),
            }
        }
        (was_ready, why)
    }

    /// Exchanges messages with a child until it is gone; returns the reason if it is known here, else an empty string.
    fn converse(&self, socket: UnixStream, setup: &EngineSetup) -> (bool, String) {
        let Ok(writing) = socket.try_clone() else {
            return (false, "no more sockets can be had".to_owned());
        };
        let (calls, waiting) = mpsc::sync_channel(CALLS_MAX);
        let hello = ToEngine::Hello {
            version: VERSION,
            setup: Box::new(setup.clone()),
        };
        calls.send(hello).expect("the receiver is here");
        let writer = std::thread::spawn(move || write(&writing, &waiting));
        let (mut calls, mut reader) = (Some(calls), BufReader::new(&socket));
        let mut was_ready = false;
        let why = loop {
            match read_frame(&mut reader) {
                Ok(FromEngine::Ready(ready)) => {
                    was_ready = true;
                    let mut link = self.lock();
                    if !link.stopping {
                        link.calls = calls.take();
                        link.start_error = None;
                        self.state.send_replace(State::Ready(Arc::new(*ready)));
                    }
                }
                Ok(FromEngine::CannotStart(why)) => break why,
                Ok(FromEngine::Event(number, event)) => self.event(number, event),
                Ok(FromEngine::Reply(number, reply)) => {
                    if let Some(waiting) = self.lock().replies.remove(&number) {
                        // The caller may have gone.
                        let _ = waiting.send(reply);
                    }
                }
                Err(super::FrameError::Gone) => break String::new(),
                Err(error) => break format!("the engine said what is not understood: {error}"),
            }
        };
        self.lock().calls = None;
        drop(calls);
        // A child that does not read would block the writer.
        let _ = socket.shutdown(std::net::Shutdown::Both);
        let _ = writer.join();
        (was_ready, why)
    }

    fn event(&self, number: u64, event: Event) {
        let mut link = self.lock();
        let listener = match event.is_last() {
            true => link.streams.remove(&number),
            false => link.streams.get(&number).cloned(),
        };
        if let Some(listener) = listener {
            // The stream may just be dropped; its `Drop` sends the cancellation.
            let _ = listener.send(event);
        }
    }

    /// Fails every request and command that waits for the child.
    fn fail_all(&self, why: &str) {
        let (streams, replies) = {
            let mut link = self.lock();
            (std::mem::take(&mut link.streams), std::mem::take(&mut link.replies))
        };
        for stream in streams.into_values() {
            let _ = stream.send(Event::Done {
                finish: Finish::Failed(format!("the engine stopped while it answered: {why}")),
                text: String::new(),
                usage: Usage::default(),
                adapters: Vec::new(),
            });
        }
        for reply in replies.into_values() {
            let _ = reply.send(Err(AdminError::Down(why.to_owned())));
        }
    }
}

fn write(socket: &UnixStream, calls: &Receiver<ToEngine>) {
    let mut out = BufWriter::new(socket);
    loop {
        let next = match calls.try_recv() {
            Err(TryRecvError::Empty) => {
                if out.flush().is_err() {
                    return;
                }
                calls.recv().ok()
            }
            next => next.ok(),
        };
        let Some(next) = next else {
            return;
        };
        match write_frame(&mut out, &next) {
            Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => return,
            // A request over the frame limit: refused before it came here.
            Ok(()) | Err(_) => (),
        }
    }
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;

    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("its process ended with signal {signal}"),
        (None, Some(code)) => format!("its process ended with exit code {code}"),
        (None, None) => "its process ended".to_owned(),
    }
}
