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

use compute::{
    engine::{AskError, Request},
    process::{Admin, AdminError, Answer, Command, EngineSetup, Ready, Reply, State, Supervisor},
};
use tokio::{sync::Mutex, sync::watch, task::JoinHandle};
use tracing::{info, warn};

/// How long a client is told to wait for an engine that starts.
const RETRY_MS: u64 = 500;
/// Adapters that are asked for at once: while the engine lists, it takes no requests.
const LIST_PAGE: usize = 500;

/// How the engine is.
#[derive(Clone, Debug)]
pub(super) enum Health {
    /// It takes requests.
    Ready(Arc<Ready>),
    /// Not yet, or not now; why.
    Down(String),
}

/// The engine.
pub(super) struct Engine {
    supervisor: Supervisor,
    /// The directory that a name was given to since the start, or none where it was taken away.
    named: Mutex<BTreeMap<String, Option<String>>>,
    health: watch::Sender<Health>,
    restarts: AtomicU64,
}

impl Engine {
    /// Starts the child, and a task that follows it.
    pub(super) fn start(command: Command, setup: EngineSetup) -> (Arc<Self>, JoinHandle<()>) {
        let engine = Arc::new(Self {
            supervisor: Supervisor::start(command, setup),
            named: Mutex::default(),
            health: watch::Sender::new(Health::Down("it is starting".to_owned())),
            restarts: AtomicU64::new(0),
        });
        let follower = tokio::spawn(follow(Arc::downgrade(&engine), engine.supervisor.state()));
        (engine, follower)
    }

    /// How it is.
    pub(super) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// How often it ended by itself.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Waits until it takes requests, or its first start failed.
    pub(super) async fn ready(&self) -> Result<Arc<Ready>, String> {
        self.supervisor.ready().await?;
        let mut health = self.health.subscribe();
        let found = health.wait_for(|health| matches!(health, Health::Ready(_))).await;
        match found.map(|health| health.clone()) {
            Ok(Health::Ready(ready)) => Ok(ready),
            Ok(Health::Down(why)) => Err(why),
            Err(_) => Err("the engine was stopped".to_owned()),
        }
    }

    /// Asks it.
    pub(super) fn ask(&self, request: Request) -> Result<Answer, AskError> {
        match &*self.health.borrow() {
            Health::Ready(_) => self.supervisor.ask(request),
            Health::Down(_) => Err(AskError::Starting {
                retry_after_ms: RETRY_MS,
            }),
        }
    }

    /// Gives a name to a directory; the generation that it is at now.
    pub(super) async fn load(&self, name: &str, dir: &str, expected: Option<u64>) -> Result<u64, AdminError> {
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
    pub(super) async fn unload(&self, name: &str, expected: Option<u64>) -> Result<(), AdminError> {
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
    pub(super) async fn admin(&self, admin: Admin) -> Result<Reply, AdminError> {
        self.supervisor.admin(admin).await
    }

    /// Up to `limit` adapters behind `after`, in pages so that nobody waits long for them.
    pub(super) async fn list(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<compute::tier::Status>, AdminError> {
        let (mut all, mut after) = (Vec::new(), after);
        while all.len() < limit {
            let page = LIST_PAGE.min(limit - all.len());
            let Reply::List(more) = self.admin(Admin::List { after, limit: page }).await? else {
                unreachable!("a list is answered with a list");
            };
            let whole = more.len() == page;
            after = more.last().map(|status| status.name.clone());
            all.extend(more);
            if !whole {
                break;
            }
        }
        Ok(all)
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
async fn follow(engine: std::sync::Weak<Engine>, mut state: watch::Receiver<State>) {
    loop {
        let now = state.borrow_and_update().clone();
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let health = match now {
            State::Ready(ready) => {
                engine.tell_again().await;
                info!(adapters = ready.adapters, base = %ready.base, "the engine takes requests");
                Health::Ready(ready)
            }
            State::Starting => Health::Down("it is starting".to_owned()),
            State::Down(why) => {
                engine.restarts.fetch_add(1, Relaxed);
                warn!(%why, "the engine ended and is started again");
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
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
