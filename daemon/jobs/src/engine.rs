//! The engine process as the OpenAI API sees it: requests, health, restarts, and the adapters that clients loaded.
//!
//! A restarted child knows only the adapters in its folder. Adapters that clients loaded or unloaded since are registered
//! again before it gets the first request.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base::events::Events;
use protocol::event::Event;
use serve::{
    engine::{Request, SubmitError},
    process::{Admin, AdminError, Command, EngineSetup, EventStream, Ready, Reply, State, Supervisor},
    tier::Status,
};
use tokio::{sync::Mutex, sync::watch, task::JoinHandle};
use tracing::warn;

/// Most adapter names requested from the engine at once.
const NAMES_PAGE: usize = 10_000;

/// State of the engine.
#[derive(Clone, Debug)]
pub enum Health {
    Ready(Arc<Ready>),
    /// The reason that it accepts no requests now.
    Down(String),
}

/// The engine process of this node: starts it, restarts it after a crash, and passes adapters to it as clients load them.
pub struct Engine {
    supervisor: Supervisor,
    /// Adapters that clients loaded since the start, with their folders; `None` for one that was unloaded.
    named: Mutex<BTreeMap<String, Option<String>>>,
    health: watch::Sender<Health>,
    state: watch::Receiver<State>,
    restarts: AtomicU64,
}

impl Engine {
    /// Starts the child process, and a task that watches it.
    pub fn start(command: Command, setup: EngineSetup, events: Events) -> (Arc<Self>, JoinHandle<()>) {
        let supervisor = Supervisor::start(command, setup);
        let state = supervisor.state();
        let engine = Arc::new(Self {
            supervisor,
            state: state.clone(),
            named: Mutex::default(),
            health: watch::Sender::new(Health::Down("it is starting".to_owned())),
            restarts: AtomicU64::new(0),
        });
        let follower = tokio::spawn(watch_child(Arc::downgrade(&engine), state, events));
        (engine, follower)
    }

    /// Returns the current state.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Number of times that the child process ended by itself.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Waits until the engine accepts requests, or its first start fails.
    pub async fn ready(&self) -> Result<Arc<Ready>, String> {
        self.supervisor.ready().await?;
        let mut health = self.health.subscribe();
        let found = health.wait_for(|health| matches!(health, Health::Ready(_))).await;
        match found.map(|health| health.clone()) {
            Ok(Health::Ready(ready)) => Ok(ready),
            Ok(Health::Down(why)) => Err(why),
            Err(_) => Err("the engine was stopped".to_owned()),
        }
    }

    /// Sends a request, unless a restarted child does not have all adapters yet.
    pub fn submit(&self, request: Request) -> Result<EventStream, SubmitError> {
        let has_adapters = match (&*self.health.borrow(), &*self.state.borrow()) {
            (Health::Ready(told), State::Ready(running)) => Arc::ptr_eq(told, running),
            _ => false,
        };
        match has_adapters {
            true => self.supervisor.submit(request),
            false => Err(self.supervisor.not_ready()),
        }
    }

    /// Loads the adapter in a folder under a name. Returns the generation of the name.
    pub async fn load(&self, name: &str, dir: &str, expected: Option<u64>) -> Result<u64, AdminError> {
        let mut named = self.named.lock().await;
        let register = register(name, dir, expected);
        match self.supervisor.admin(register).await? {
            Reply::Registered(generation) => {
                named.insert(name.to_owned(), Some(dir.to_owned()));
                Ok(generation)
            }
            other => unreachable!("a registration is answered with {other:?}"),
        }
    }

    /// Unloads an adapter.
    pub async fn unload(&self, name: &str, expected: Option<u64>) -> Result<(), AdminError> {
        let mut named = self.named.lock().await;
        let name = name.to_owned();
        self.supervisor
            .admin(Admin::Unregister {
                name: name.clone(),
                expected,
            })
            .await?;
        named.insert(name, None);
        Ok(())
    }

    /// Sends an administrative request that changes nothing.
    pub async fn admin(&self, admin: Admin) -> Result<Reply, AdminError> {
        self.supervisor.admin(admin).await
    }

    /// Lists up to `limit` adapter names after `after`, with their hashes if known.
    pub async fn names(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(String, Option<String>)>, AdminError> {
        let (mut all, mut after) = (Vec::new(), after);
        loop {
            let page = NAMES_PAGE.min(limit - all.len());
            let more = match self.admin(Admin::Names { after, limit: page }).await? {
                Reply::Names(more) => more,
                other => unreachable!("names are answered with {other:?}"),
            };
            let whole = more.len() == page;
            after = more.last().map(|(name, _)| name.clone());
            all.extend(more);
            if !whole || all.len() == limit {
                return Ok(all);
            }
        }
    }

    /// Describes up to `limit` adapters after `after`. The engine reads the headers of adapters that were never requested.
    pub async fn list(&self, after: Option<String>, limit: usize) -> Result<Vec<Status>, AdminError> {
        match self.admin(Admin::List { after, limit }).await? {
            Reply::List(list) => Ok(list),
            other => unreachable!("a list is answered with {other:?}"),
        }
    }

    /// Repeats the loads and unloads of clients to a restarted child.
    async fn restore_adapters(&self) {
        for (name, dir) in &*self.named.lock().await {
            let again = match dir {
                Some(dir) => register(name, dir, None),
                None => Admin::Unregister {
                    name: name.clone(),
                    expected: None,
                },
            };
            match self.supervisor.admin(again).await {
                // Its folder may be gone too.
                Ok(_) | Err(AdminError::Unknown(_)) => (),
                Err(error) => warn!(%name, %error, "could not load an adapter again after a restart"),
            }
        }
    }
}

fn register(name: &str, dir: &str, expected: Option<u64>) -> Admin {
    Admin::Register {
        name: name.to_owned(),
        dir: dir.to_owned(),
        expected,
    }
}

/// Watches the child until the engine is dropped.
async fn watch_child(engine: std::sync::Weak<Engine>, mut state: watch::Receiver<State>, events: Events) {
    let mut children = 0;
    loop {
        let now = state.borrow_and_update().clone();
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let health = match now {
            State::Ready(ready) => {
                engine.restore_adapters().await;
                // Count children that became ready: the state between two of them may be missed here.
                engine.restarts.store(children, Relaxed);
                children += 1;
                events.tell(Event::EngineReady {
                    base: ready.base.to_string(),
                    adapters: ready.adapters,
                });
                Health::Ready(ready)
            }
            State::Starting => Health::Down("it is starting".to_owned()),
            State::Down(why) => {
                events.tell(Event::EngineDown { why: why.clone() });
                Health::Down(why)
            }
            State::Stopped => return,
        };
        engine.health.send_replace(health);
        drop(engine);
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Time that running requests get to finish when the engine stops.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(5);
