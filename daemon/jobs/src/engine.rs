//! The engine's process as the API sees it, and the names that were given while it runs.
//!
//! A child that starts again knows the adapters of its directory and nothing else. What clients loaded and unloaded since
//! is told to it again before it is asked anything.

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
    engine::{AskError, Request},
    process::{Admin, AdminError, Answer, Command, EngineSetup, Ready, Reply, State, Supervisor},
    tier::Status,
};
use tokio::{sync::Mutex, sync::watch, task::JoinHandle};
use tracing::warn;

/// Names that the engine is asked for at once.
const NAMES_PAGE: usize = 10_000;

/// How the engine is.
#[derive(Clone, Debug)]
pub enum Health {
    /// It takes requests.
    Ready(Arc<Ready>),
    /// Not yet, or not now; why.
    Down(String),
}

/// The engine.
pub struct Engine {
    supervisor: Supervisor,
    /// The directory that a name was given to since the start, or none where it was taken away.
    named: Mutex<BTreeMap<String, Option<String>>>,
    health: watch::Sender<Health>,
    state: watch::Receiver<State>,
    restarts: AtomicU64,
}

impl Engine {
    /// Starts the child, and a task that follows it.
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
        let follower = tokio::spawn(follow(Arc::downgrade(&engine), state, events));
        (engine, follower)
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// How often it ended by itself.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Waits until it takes requests, or its first start failed.
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

    /// Asks it, unless the child that runs was not told everything yet.
    pub fn ask(&self, request: Request) -> Result<Answer, AskError> {
        let is_told = match (&*self.health.borrow(), &*self.state.borrow()) {
            (Health::Ready(told), State::Ready(running)) => Arc::ptr_eq(told, running),
            _ => false,
        };
        match is_told {
            true => self.supervisor.ask(request),
            false => Err(self.supervisor.not_ready()),
        }
    }

    /// Gives a name to a directory; the generation that it is at now.
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

    /// Takes a name away.
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

    /// Anything that changes nothing.
    pub async fn admin(&self, admin: Admin) -> Result<Reply, AdminError> {
        self.supervisor.admin(admin).await
    }

    /// Up to `limit` names of adapters behind `after`, and their contents where they are known.
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

    /// Up to `limit` adapters behind `after`. The engine reads the headers of those that it was not asked for yet.
    pub async fn list(&self, after: Option<String>, limit: usize) -> Result<Vec<Status>, AdminError> {
        match self.admin(Admin::List { after, limit }).await? {
            Reply::List(list) => Ok(list),
            other => unreachable!("a list is answered with {other:?}"),
        }
    }

    /// Tells a child that is new what was changed since its predecessor started.
    async fn tell_again(&self) {
        for (name, dir) in &*self.named.lock().await {
            let again = match dir {
                Some(dir) => register(name, dir, None),
                None => Admin::Unregister {
                    name: name.clone(),
                    expected: None,
                },
            };
            match self.supervisor.admin(again).await {
                // Its directory may have gone too.
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

/// Follows the child until the engine is dropped.
async fn follow(engine: std::sync::Weak<Engine>, mut state: watch::Receiver<State>, events: Events) {
    let mut children = 0;
    loop {
        let now = state.borrow_and_update().clone();
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let health = match now {
            State::Ready(ready) => {
                engine.tell_again().await;
                // Only those who were ready are counted: how one ended may be over before it is seen here.
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

/// How long requests under way may take once the engine is to end.
pub const PATIENCE: Duration = Duration::from_secs(5);
