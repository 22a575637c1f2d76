//! The parent's side: keeps one child running and carries what is said.
//!
//! A thread of its own starts the child, reads what it says, and starts it again: it lives as long as the supervisor, so
//! that the child, which ends with the thread that started it, does not end before. When a child is gone, every request
//! that it had is told so; none is tried again, because it may have been the cause.

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

use super::frame::{Admin, AdminError, Call, EngineSetup, Ready, Reply, Say, VERSION, read_frame, write_frame};
use crate::{
    engine::{AskError, Event, Request},
    schedule::{Finish, Refusal, Usage},
};

/// Calls that wait to be written.
const CALLS_MAX: usize = 4096;
/// A child that took requests is started again at once, one that fails at the start after a rest that doubles.
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(30);
/// When to ask again while a child starts.
const RETRY_MS: u64 = 500;

/// How a child is started: the program, and arguments that lead to [`super::child_main`].
#[derive(Clone, Debug)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// How the child is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It was started and is not ready.
    Starting,
    /// It takes requests.
    Ready(Arc<Ready>),
    /// It is gone; why. It will be started again.
    Down(String),
    /// It was stopped for good.
    Stopped,
}

#[derive(Default)]
struct Link {
    /// While the child is ready.
    calls: Option<SyncSender<Call>>,
    answers: HashMap<u64, UnboundedSender<Event>>,
    replies: HashMap<u64, oneshot::Sender<Result<Reply, AdminError>>>,
    next: u64,
    /// Why the last child never took requests.
    unfit: Option<String>,
    child: Option<Child>,
    stopping: bool,
}

struct Shared {
    link: Mutex<Link>,
    rest: Condvar,
    state: watch::Sender<State>,
}

/// Keeps an engine running in a process of its own. Dropping it ends the child.
pub struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What an engine says to one request. Dropping it ends the request.
pub struct Answer {
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

    /// How the child is, and whenever that changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Waits until the child takes requests. An error says why it could not be started; it is tried again all the same.
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

    /// Asks the engine.
    pub fn ask(&self, request: Request) -> Result<Answer, AskError> {
        let mut link = self.shared.lock();
        let calls = link.calls.clone().ok_or_else(|| link.not_ready())?;
        link.next += 1;
        let number = link.next;
        calls
            .try_send(Call::Ask(number, Box::new(request)))
            .map_err(|error| match error {
                TrySendError::Full(_) => AskError::Refused(Refusal::Full {
                    waiting: CALLS_MAX,
                    retry_after_ms: 1000,
                }),
                TrySendError::Disconnected(_) => AskError::Starting {
                    retry_after_ms: RETRY_MS,
                },
            })?;
        // Never more events than the answer has tokens: the child counts them.
        let (say, events) = tokio::sync::mpsc::unbounded_channel();
        link.answers.insert(number, say);
        Ok(Answer {
            number,
            events,
            ended: false,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Why a request cannot be taken while the engine is not ready.
    pub fn not_ready(&self) -> AskError {
        self.shared.lock().not_ready()
    }

    /// Does something to the engine. A future that is dropped half-way leaves it done or not.
    pub async fn admin(&self, admin: Admin) -> Result<Reply, AdminError> {
        let (reply, replied) = oneshot::channel();
        {
            let mut link = self.shared.lock();
            let down = |why: &str| AdminError::Down(why.to_owned());
            let calls = link.calls.clone().ok_or_else(|| down("it is starting"))?;
            link.next += 1;
            let number = link.next;
            calls
                .try_send(Call::Admin(number, admin))
                .map_err(|_| down("it is busy"))?;
            link.replies.insert(number, reply);
        }
        replied
            .await
            .unwrap_or_else(|_| Err(AdminError::Down("it stopped before it answered".to_owned())))
    }

    /// The child's process, while there is one.
    pub fn process_id(&self) -> Option<u32> {
        self.shared.lock().child.as_ref().map(Child::id)
    }

    /// Lets the engine finish what it has, within `grace`, and ends it for good.
    pub async fn stop(self, grace: Duration) {
        // Whether it drained or not, it ends now.
        let _ = tokio::time::timeout(grace, self.admin(Admin::Drain)).await;
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            // It was told to end; its panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Answer {
    /// The next event; nothing behind the last.
    pub async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.events.recv().await;
        self.ended = event.as_ref().is_none_or(Event::is_last);
        event
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut link = self.shared.lock();
        if link.answers.remove(&self.number).is_some()
            && let Some(calls) = &link.calls
        {
            // If there is no room, the engine notices when it is next told that nobody listens: not at all, so it says
            // all there is to say, which is bounded.
            let _ = calls.try_send(Call::Cancel(self.number));
        }
    }
}

impl Link {
    fn not_ready(&self) -> AskError {
        let retry_after_ms = RETRY_MS;
        match self.unfit.clone() {
            Some(why) => AskError::Unfit { why, retry_after_ms },
            None => AskError::Starting { retry_after_ms },
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
            // One that ended by itself needs no killing.
            let _ = child.kill();
        }
        self.rest.notify_all();
    }

    fn supervise(&self, command: &Command, setup: &EngineSetup) {
        let mut rest = REST_MIN;
        loop {
            let (was_ready, why) = self.run(command, setup);
            self.lock().unfit = (!was_ready).then(|| why.clone());
            // First known to be down, then told: whoever is told may ask at once how it is.
            self.state.send_replace(State::Down(why.clone()));
            self.fail_all(&why);
            rest = if was_ready { REST_MIN } else { (rest * 2).min(REST_MAX) };
            let mut link = self.lock();
            if !link.stopping {
                // A child that took requests comes back at once.
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

    /// Runs one child to its end: whether it ever took requests, and why it ended.
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
                // Ctrl-C is for the parent, which lets answers end first.
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
            // Without its socket it is of no use, whatever it does.
            let _ = child.kill();
            match child.wait() {
                Ok(status) if why.is_empty() => why = ended(status),
                Ok(_) => (),
                Err(error) => why = format!("the engine ended, and how is not known: {error}"),
            }
        }
        (was_ready, why)
    }

    /// Speaks with a child until it is gone; why, if that is known here.
    fn converse(&self, socket: UnixStream, setup: &EngineSetup) -> (bool, String) {
        let Ok(writing) = socket.try_clone() else {
            return (false, "no more sockets can be had".to_owned());
        };
        let (calls, waiting) = mpsc::sync_channel(CALLS_MAX);
        let hello = Call::Hello {
            version: VERSION,
            setup: Box::new(setup.clone()),
        };
        calls.send(hello).expect("the receiver is here");
        let writer = std::thread::spawn(move || write(&writing, &waiting));
        let (mut calls, mut reader) = (Some(calls), BufReader::new(&socket));
        let mut was_ready = false;
        let why = loop {
            match read_frame(&mut reader) {
                Ok(Say::Ready(ready)) => {
                    was_ready = true;
                    let mut link = self.lock();
                    if !link.stopping {
                        link.calls = calls.take();
                        link.unfit = None;
                        self.state.send_replace(State::Ready(Arc::new(*ready)));
                    }
                }
                Ok(Say::Unfit(why)) => break why,
                Ok(Say::Event(number, event)) => self.event(number, event),
                Ok(Say::Reply(number, reply)) => {
                    if let Some(waiting) = self.lock().replies.remove(&number) {
                        // Whoever asked may have gone.
                        let _ = waiting.send(reply);
                    }
                }
                Err(super::FrameError::Gone) => break String::new(),
                Err(error) => break format!("the engine said what is not understood: {error}"),
            }
        };
        self.lock().calls = None;
        drop(calls);
        // A child that does not read would keep the writer waiting.
        let _ = socket.shutdown(std::net::Shutdown::Both);
        let _ = writer.join();
        (was_ready, why)
    }

    fn event(&self, number: u64, event: Event) {
        let mut link = self.lock();
        let listener = match event.is_last() {
            true => link.answers.remove(&number),
            false => link.answers.get(&number).cloned(),
        };
        if let Some(listener) = listener {
            // Whoever asked is just going; that it went is told by its drop.
            let _ = listener.send(event);
        }
    }

    /// Tells everyone who waits for the child that it is gone.
    fn fail_all(&self, why: &str) {
        let (answers, replies) = {
            let mut link = self.lock();
            (std::mem::take(&mut link.answers), std::mem::take(&mut link.replies))
        };
        for answer in answers.into_values() {
            let _ = answer.send(Event::Done {
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

fn write(socket: &UnixStream, calls: &Receiver<Call>) {
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
            // A request over the limit was refused before it came here.
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
