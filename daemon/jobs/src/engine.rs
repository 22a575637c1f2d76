//! The engine's process, and the adapters that were loaded while it runs.
//!
//! A child that restarts knows only the adapters of its directory. Before it gets requests again, the adapters that clients
//! loaded and unloaded since are registered with it again.

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
    engine::{SubmitError, Request},
    process::{Admin, AdminError, EventStream, Command, EngineSetup, Ready, Reply, State, Supervisor},
    tier::Status,
};
use tokio::{sync::Mutex, sync::watch, task::JoinHandle};
use tracing::warn;

/// Names requested from the engine in one message.
const NAMES_PAGE: usize = 10_000;

/// Health of the engine.
#[derive(Clone, Debug)]
pub enum Health {
    Ready(Arc<Ready>),
    /// Starting or restarting, and why.
    Down(String),
}

/// The engine of one served model: the supervisor of its process, and the adapters loaded by clients.
pub struct Engine {
    supervisor: Supervisor,
    /// The directory of each adapter loaded since the start; `None` if it was unloaded.
    loaded: Mutex<BTreeMap<String, Option<String>>>,
    health: watch::Sender<Health>,
    state: watch::Receiver<State>,
    restarts: AtomicU64,
}

impl Engine {
    /// Starts the child, and a task that follows its state.
    pub fn start(command: Command, setup: EngineSetup, events: Events) -> (Arc<Self>, JoinHandle<()>) {
        let supervisor = Supervisor::start(command, setup);
        let state = supervisor.state();
        let engine = Arc::new(Self {
            supervisor,
            state: state.clone(),
            loaded: Mutex::default(),
            health: watch::Sender::new(Health::Down("it is starting".to_owned())),
            restarts: AtomicU64::new(0),
        });
        let follower = tokio::spawn(follow(Arc::downgrade(&engine), state, events));
        (engine, follower)
    }

    /// Current health.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Number of times the child ended by itself and was started again.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Waits until the engine is ready, or its first start failed.
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

    /// Submits a request, unless the running child does not know all adapters yet.
    pub fn submit(&self, request: Request) -> Result<EventStream, SubmitError> {
        let knows_adapters = match (&*self.health.borrow(), &*self.state.borrow()) {
            (Health::Ready(known), State::Ready(running)) => Arc::ptr_eq(known, running),
            _ => false,
        };
        match knows_adapters {
            true => self.supervisor.submit(request),
            false => Err(self.supervisor.not_ready()),
        }
    }

    /// Registers an adapter directory under a name; returns the new generation of the name.
    pub async fn load(&self, name: &str, dir: &str, expected: Option<u64>) -> Result<u64, AdminError> {
        let mut loaded = self.loaded.lock().await;
        let register = register(name, dir, expected);
        match self.supervisor.admin(register).await? {
            Reply::Registered(generation) => {
                loaded.insert(name.to_owned(), Some(dir.to_owned()));
                Ok(generation)
            }
            other => unreachable!("a registration is answered with {other:?}"),
        }
    }

    /// Unregisters a name.
    pub async fn unload(&self, name: &str, expected: Option<u64>) -> Result<(), AdminError> {
        let mut loaded = self.loaded.lock().await;
        let name = name.to_owned();
        self.supervisor
            .admin(Admin::Unregister {
                name: name.clone(),
                expected,
            })
            .await?;
        loaded.insert(name, None);
        Ok(())
    }

    /// Runs an administrative command that changes nothing.
    pub async fn admin(&self, admin: Admin) -> Result<Reply, AdminError> {
        self.supervisor.admin(admin).await
    }

    /// Up to `limit` names of adapters after `after`, with content hashes where known.
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

    /// Up to `limit` adapters after `after`. The engine reads headers that it has not read yet.
    pub async fn list(&self, after: Option<String>, limit: usize) -> Result<Vec<Status>, AdminError> {
        match self.admin(Admin::List { after, limit }).await? {
            Reply::List(list) => Ok(list),
            other => unreachable!("a list is answered with {other:?}"),
        }
    }

    /// Registers with a new child what was loaded and unloaded since the first one started.
    async fn register_again(&self) {
        for (name, dir) in &*self.loaded.lock().await {
            let again = match dir {
                Some(dir) => register(name, dir, None),
                None => Admin::Unregister {
                    name: name.clone(),
                    expected: None,
                },
            };
            match self.supervisor.admin(again).await {
                // Its directory may have been removed meanwhile.
                Ok(_) | Err(AdminError::Unknown(_)) => (),
                Err(error) => warn!(%name, %error, "an adapter that was loaded before is not there any more"),
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

/// Follows the state of the child until the engine is dropped.
async fn follow(engine: std::sync::Weak<Engine>, mut state: watch::Receiver<State>, events: Events) {
    let mut children = 0;
    loop {
        let now = state.borrow_and_update().clone();
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let health = match now {
            State::Ready(ready) => {
                engine.register_again().await;
                // Counted when ready: a child that ended at once may be replaced before this task sees it.
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

/// Time for requests in progress to end when the engine stops.
pub const PATIENCE: Duration = Duration::from_secs(5);
