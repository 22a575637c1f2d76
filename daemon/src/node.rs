//! A node, assembled: started in order, stopped in reverse. Owns every task and thread.
//!
//! Starting: lock the home, open the log and the journal (the truth), open the state and bring it up to the log (the
//! cache), bring up the machine, then the network, then the doors. A state database that cannot be used is moved aside
//! and rebuilt; a log or journal that cannot be used stops the node, with the reason and the way out.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use config::{Loaded, Size};
use net::{ChainTag, Net, NetConfig, NetHandle};
use protocol::{NodeId, crypto::SecretKey};
use serde::Serialize;
use storage::{BlockLog, HomeLock, RealDisk, disk::free_bytes};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use base::{clock::Clock, events::Events, home::Home, key, words::chained};
pub use chain::open::{OpenError, read_genesis};
use chain::{
    actor::{self, Chain, ChainError, Command},
    ingress::{self, Ingress, journal::PoolJournal},
    network_events, open,
};
use data::Data;
use gateway::api::{
    self, About, Api,
    local::{JobParts, Local, LocalParts},
};
use gateway::serving::NodeServing;
use jobs::offers::{Offers, WorkError};

/// How often free space and the wall clock are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// Longest that stopping may take before the process ends anyway. Nothing acknowledged is lost by that.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Why a node did not start, or stopped by itself. Each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process runs here, or the folder cannot be locked.
    #[error(transparent)]
    Lock(#[from] storage::lock::LockError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] key::KeyError),
    /// The chain's data cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Waiting transactions cannot be kept.
    #[error("could not open the mempool's journal")]
    Pool(#[from] ingress::journal::PoolJournalError),
    /// The network did not start.
    #[error(transparent)]
    Net(#[from] net::StartError),
    /// What is shared cannot be opened or served.
    #[error(transparent)]
    Data(#[from] data::StartError),
    /// Its stores or its data plane cannot be opened.
    #[error(transparent)]
    Stage(#[from] data::StageError),
    /// What work is offered cannot be read.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The interfaces did not start.
    #[error(transparent)]
    Api(#[from] base::listen::ListenError),
    /// The chain stopped.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A thread could not be started or a file not be written.
    #[error("could not {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The disk is nearly full.
    #[error("{} has {free} free, storage.min_free_space is {least}; free some space and start the node again", home.display())]
    Full {
        /// Where.
        home: PathBuf,
        /// What is left.
        free: Size,
        /// What must be left.
        least: Size,
    },
    /// A thread panicked; the panic was logged where it happened.
    #[error("the chain's thread panicked; its message is in the log above")]
    Panic,
}

/// A running node.
pub struct Running {
    /// The chain.
    pub chain: Chain,
    /// The way in for transactions.
    pub ingress: Ingress,
    /// The network.
    pub net: NetHandle,
    /// What is shared.
    pub data: Data,
    /// Where it listens.
    pub listening: Listening,
    serving: NodeServing,
    home: Home,
    least_free: Size,
    clock: Clock,
    api: Api,
    local: Local,
    thread: Option<std::thread::JoinHandle<Result<(), ChainError>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: CancellationToken,
    _lock: HomeLock,
}

/// Where a running node can be reached: `node.json` in its home.
#[derive(Clone, Debug, Serialize)]
pub struct Listening {
    /// The process.
    pub pid: u32,
    /// Its name among peers.
    pub node_id: NodeId,
    /// JSON-RPC, HTTP and WebSocket.
    pub rpc: String,
    /// Health, figures and status.
    pub api: String,
    /// The socket for commands.
    pub socket: PathBuf,
    /// Addresses that peers can dial.
    pub listen: Vec<String>,
}

impl Running {
    /// Starts a node in `home`. When this returns it follows the chain and takes requests.
    pub async fn start(home: Home, loaded: &Loaded) -> Result<Self, NodeError> {
        let config = &loaded.config;
        let lock = HomeLock::acquire(home.root())?;
        let least_free = config.storage.min_free_space;
        check_space(&home, least_free)?;
        let node_key = key::read(&home.node_key())?;
        let (clock, events) = (Clock::new(), Events::default());

        let opened = open::open(&home, loaded, clock.now())?;
        let genesis = opened.node.exec.genesis();
        let tag = ChainTag {
            chain_id: opened.chain_id,
            genesis: genesis.0,
        };
        let stage = data::Stage::open(&home, config, *node_key.seed()).await?;
        let started = Net::start(NetConfig {
            data: Some(stage.plane.addresses().with_relay(config.data.relay())),
            listen: config.network.listen.clone(),
            bootstrap: config.network.bootstrap.clone(),
            limits: net::Limits {
                peers_max: config.network.max_peers,
                request_timeout: config.network.request_timeout.0,
                ban: config.network.ban.0,
                ..net::Limits::default()
            },
            ..NetConfig::new(*node_key.seed(), tag)
        });
        let (net, heard) = match started.await {
            Ok(started) => started,
            Err(error) => {
                // Dropped open, its endpoint would log that nobody closed it, beside the reason that counts.
                stage.plane.shutdown().await;
                return Err(error.into());
            }
        };

        let (tx_validator, scrubbed) = (opened.node.exec.tx_validator(), opened.log.clone());
        let (chain, thread) = actor::spawn(actor::Parts {
            node: opened.node,
            first: opened.first,
            wal: opened.wal,
            log: opened.log,
            net: net.clone(),
            clock,
            events: events.clone(),
            flush_every: u64::from(config.storage.flush_every_blocks),
            runtime: tokio::runtime::Handle::current(),
        })
        .map_err(|source| NodeError::Io {
            what: "start the chain's thread".into(),
            source,
        })?;

        let stop = CancellationToken::new();
        let journal = PoolJournal::open(Arc::new(RealDisk), &home.mempool())?;
        let (ingress, intake) = ingress::spawn(ingress::Parts {
            chain: chain.clone(),
            net: net.clone(),
            tx_validator,
            journal,
            stop: stop.clone(),
        });
        let (addresses, listen) = tokio::sync::watch::channel(Vec::new());
        let feeding = tokio::spawn(network_events::dispatch(
            heard,
            chain.clone(),
            ingress.clone(),
            events.clone(),
            addresses,
        ));
        let about = About {
            moniker: config.node.moniker.clone(),
            network: config.node.network.clone(),
            wants_peers: !config.network.bootstrap.is_empty(),
            started: Instant::now(),
        };
        let shared = Arc::<std::sync::OnceLock<Data>>::default();
        let parts = api::Parts {
            data: shared.clone(),
            chain: chain.clone(),
            ingress: ingress.clone(),
            net: net.clone(),
            about: Arc::new(about),
        };
        let api = Api::start(api_settings(loaded), parts).await?;

        let key = SecretKey::from_seed(*node_key.seed());
        let (beacons, beating) = chain::beacon::follow(chain.head.clone(), config.data.audit_blocks, stop.clone());
        let data = Data::start(stage, net.clone(), key, tag.domain(), clock, events.clone(), beacons).await?;
        let offers = Offers::open(&home, data.peer.clone())?;
        offers.start();
        // Set once, here.
        drop(shared.set(data.clone()));
        let serving = NodeServing::new(home.clone(), events.clone());
        let parts = LocalParts {
            net: net.clone(),
            data: data.clone(),
            offers,
            jobs: JobParts {
                home: home.clone(),
                library: data.library.clone(),
                events: events.clone(),
                serving: serving.clone(),
            },
        };
        let local = Local::start(&home.socket(), parts, stop.clone());
        let local = local.map_err(|source| NodeError::Io {
            what: format!("listen for commands at {}", home.socket().display()),
            source,
        })?;

        let listen = first_address(listen).await;
        let listening = Listening {
            pid: std::process::id(),
            node_id: NodeId(node_key.public()),
            rpc: format!("http://{}", api.rpc),
            api: format!("http://{}", api.ops),
            socket: local.path.clone(),
            listen,
        };
        write_listening(&home, &listening)?;
        info!(node = %format_args!("{:#}", listening.node_id), rpc = listening.rpc, api = listening.api, "node started");
        let scrubbing = tokio::spawn(scrub(scrubbed, chain.clone(), stop.clone()));
        let tasks = vec![intake, feeding, scrubbing, beating];
        let thread = Some(thread);
        Ok(Self {
            chain,
            ingress,
            net,
            data,
            listening,
            serving,
            home,
            least_free,
            clock,
            api,
            local,
            thread,
            tasks,
            stop,
            _lock: lock,
        })
    }

    /// Runs until `asked` to stop or until something that must work does not, then stops in reverse order.
    pub async fn run(mut self, asked: impl Future<Output = ()>) -> Result<(), NodeError> {
        let ended = tokio::select! {
            () = asked => Ok(()),
            ended = watch(&self.home, self.least_free, &self.clock) => ended,
            // The thread drops its inbox when it ends by itself.
            () = self.chain.ended() => Ok(()),
        };
        let thread = self.thread.take();
        let stopping = self.stop(thread);
        let stopped = match tokio::time::timeout(STOP_WITHIN, stopping).await {
            Ok(stopped) => stopped,
            Err(_) => {
                warn!("stopping took too long; what is final is on disk and the rest is done again");
                Ok(())
            }
        };
        ended.and(stopped)
    }

    async fn stop(self, thread: Option<std::thread::JoinHandle<Result<(), ChainError>>>) -> Result<(), NodeError> {
        self.api.stop().await;
        self.stop.cancel();
        self.local.stop().await;
        self.serving.stop().await;
        // It may have ended by itself.
        let _ = self.chain.send(Command::Stop).await;
        self.data.stop().await;
        self.net.shutdown().await;
        for task in self.tasks {
            // A task that panicked has said so.
            drop(task.await);
        }
        // An old file would point at nobody.
        drop(std::fs::remove_file(self.home.listening()));
        let Some(thread) = thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        let ended = joined.ok().and_then(Result::ok).ok_or(NodeError::Panic)?;
        info!("node stopped");
        Ok(ended?)
    }
}

/// Starts a node and runs it until the process is asked to end.
pub async fn run(home: Home, loaded: &Loaded) -> Result<(), NodeError> {
    let node = Box::pin(Running::start(home, loaded)).await?;
    node.run(interrupted()).await
}

/// Waits for SIGINT or SIGTERM.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened to");
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
}

fn api_settings(loaded: &Loaded) -> api::Settings {
    let rpc = &loaded.config.rpc;
    api::Settings {
        rpc: api::rpc::Settings {
            listen: rpc.listen,
            body_bytes_max: u32::try_from(rpc.max_body.0).unwrap_or(u32::MAX),
            batch_max: rpc.max_batch,
            connections_max: rpc.max_connections,
            origins: rpc.allow_origins.clone(),
            ..api::rpc::Settings::default()
        },
        ops: loaded.config.api.listen,
    }
}

/// Reads all old blocks once: a log that rots is found before a peer asks for what is gone.
async fn scrub(log: Arc<BlockLog>, chain: Chain, stop: CancellationToken) {
    let found = tokio::task::spawn_blocking(move || open::verify_older_blocks(&log, &stop)).await;
    if let Ok(Some(damage)) = found {
        // A chain that has stopped signs nothing anyway.
        let _ = chain.send(Command::LogDamaged(chained(&damage))).await;
    }
}

async fn first_address(mut listen: tokio::sync::watch::Receiver<Vec<String>>) -> Vec<String> {
    // A node that listens nowhere is a node all the same.
    let listening = listen.wait_for(|addresses| !addresses.is_empty());
    match tokio::time::timeout(Duration::from_secs(2), listening).await {
        Ok(Ok(addresses)) => addresses.clone(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

fn write_listening(home: &Home, listening: &Listening) -> Result<(), NodeError> {
    let text = serde_json::to_vec_pretty(listening).expect("addresses are plain data");
    let path = home.listening();
    let next = path.with_extension("json.next");
    std::fs::write(&next, text)
        .and_then(|()| std::fs::rename(&next, &path))
        .map_err(|source| NodeError::Io {
            what: format!("write {}", path.display()),
            source,
        })
}

fn check_space(home: &Home, least: Size) -> Result<(), NodeError> {
    match free_bytes(home.root()) {
        Ok(free) if free < least.0 => Err(NodeError::Full {
            home: home.root().to_owned(),
            free: Size(free),
            least,
        }),
        Ok(_) => Ok(()),
        Err(source) => Err(NodeError::Io {
            what: format!("measure {}", home.root().display()),
            source,
        }),
    }
}

/// Watches what the node cannot feel: the disk filling up and the clock jumping.
async fn watch(home: &Home, least: Size, clock: &Clock) -> Result<(), NodeError> {
    let mut jumped = false;
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        check_space(home, least)?;
        if let Some(apart) = clock.jumped().filter(|_| !jumped) {
            jumped = true;
            warn!(
                seconds = apart.as_secs(),
                "the wall clock jumped; the node keeps its own time until it is restarted"
            );
        }
    }
}
