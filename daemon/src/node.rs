//! Assembles a node from its crates, runs it, and stops it. Owns every task and thread of the process.
//!
//! Start order: lock the home; open the block log and the consensus journal (the source of truth); open the state
//! database and replay the log into it (a cache); start the consensus thread, the network, then the interfaces. Stopping
//! goes in reverse. A state database that cannot be opened is moved aside and rebuilt. A block log or journal that cannot
//! be opened stops the node, and the error says how to repair it.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use config::{Config, Loaded, Size};
use net::{ChainTag, Net, NetConfig, NetHandle};
use protocol::{NodeId, crypto::SecretKey};
use serde::Serialize;
use storage::{BlockLog, HomeLock, RealDisk, disk::free_bytes};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use base::{clock::Clock, errors::chained, events::Events, home::Home, key};
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

/// Interval at which free disk space and the wall clock are checked.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// Longest that stopping may take before the process ends anyway. Acknowledged data is on disk by then.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Reason that a node did not start, or stopped by itself. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Lock(#[from] storage::lock::LockError),
    #[error(transparent)]
    Key(#[from] key::KeyError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("could not open the mempool's journal")]
    Pool(#[from] ingress::journal::PoolJournalError),
    #[error(transparent)]
    Net(#[from] net::StartError),
    #[error(transparent)]
    Data(#[from] data::StartError),
    #[error(transparent)]
    OpenData(#[from] data::OpenDataError),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error(transparent)]
    Api(#[from] base::listen::ListenError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("could not {what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{} has {free} free, storage.min_free_space is {least}; free some space and start the node again", home.display())]
    Full { home: PathBuf, free: Size, least: Size },
    /// The panic itself was logged where it happened.
    #[error("the chain's thread panicked; its message is in the log above")]
    Panic,
}

/// A running node: handles to each of its parts, and what must be stopped with it.
pub struct Running {
    pub chain: Chain,
    pub ingress: Ingress,
    pub net: NetHandle,
    pub data: Data,
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

/// Addresses of a running node. Written to `node.json` in its home, where the command line and scripts find them.
#[derive(Clone, Debug, Serialize)]
pub struct Listening {
    pub pid: u32,
    pub node_id: NodeId,
    /// URL of JSON-RPC, for HTTP and WebSocket.
    pub rpc: String,
    /// URL of health, metrics and status.
    pub api: String,
    /// Unix socket of the operator's API.
    pub socket: PathBuf,
    /// Multiaddresses that peers can dial.
    pub listen: Vec<String>,
}

impl Running {
    /// Starts a node in `home`. When this returns, the node follows the chain and accepts requests.
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
        let opened_data = data::Opened::open(&home, config, *node_key.seed()).await?;
        let started = Net::start(net_config(config, &opened_data, *node_key.seed(), tag)).await;
        let (net, heard) = match started {
            Ok(started) => started,
            Err(error) => {
                // An endpoint that is dropped without a shutdown logs an error, which would bury the real one.
                opened_data.plane.shutdown().await;
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
        let shared = Arc::<std::sync::OnceLock<Data>>::default();
        let parts = api::Parts {
            data: shared.clone(),
            chain: chain.clone(),
            ingress: ingress.clone(),
            net: net.clone(),
            about: Arc::new(about(config)),
        };
        let api = Api::start(api_settings(loaded), parts).await?;

        let key = SecretKey::from_seed(*node_key.seed());
        let (beacons, beating) = chain::beacon::follow(chain.head.clone(), config.data.audit_blocks, stop.clone());
        let data = Data::start(
            opened_data,
            net.clone(),
            key,
            tag.domain(),
            clock,
            events.clone(),
            beacons,
        )
        .await?;
        let offers = Offers::open(&home, data.peer.clone())?;
        offers.start();
        // The status page was started before the data plane and reads this cell once it is set.
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
            // The consensus thread closes its channel when it ends by itself.
            () = self.chain.ended() => Ok(()),
        };
        let thread = self.thread.take();
        let stopping = self.stop(thread);
        let stopped = match tokio::time::timeout(STOP_WITHIN, stopping).await {
            Ok(stopped) => stopped,
            Err(_) => {
                warn!(
                    "stopping took too long; final blocks are on disk, and unfinished work is repeated at the next start"
                );
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
        // Sending fails if the thread has ended by itself.
        let _ = self.chain.send(Command::Stop).await;
        self.data.stop().await;
        self.net.shutdown().await;
        for task in self.tasks {
            // The panic hook has logged the panic of a task.
            drop(task.await);
        }
        // A stale file would point commands at a dead node.
        drop(std::fs::remove_file(self.home.listening()));
        let Some(thread) = thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        let ended = joined.ok().and_then(Result::ok).ok_or(NodeError::Panic)?;
        info!("node stopped");
        Ok(ended?)
    }
}

/// Starts a node and runs it until SIGINT or SIGTERM.
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

fn net_config(config: &Config, data: &data::Opened, seed: [u8; 32], tag: ChainTag) -> NetConfig {
    NetConfig {
        data: Some(data.plane.addresses().with_relay(config.data.relay())),
        listen: config.network.listen.clone(),
        bootstrap: config.network.bootstrap.clone(),
        limits: net::Limits {
            peers_max: config.network.max_peers,
            request_timeout: config.network.request_timeout.0,
            ban: config.network.ban.0,
            ..net::Limits::default()
        },
        ..NetConfig::new(seed, tag)
    }
}

fn about(config: &Config) -> About {
    About {
        moniker: config.node.moniker.clone(),
        network: config.node.network.clone(),
        wants_peers: !config.network.bootstrap.is_empty(),
        started: Instant::now(),
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

/// Reads all old blocks once, so that bit rot in the log is found before a peer asks for a damaged block.
async fn scrub(log: Arc<BlockLog>, chain: Chain, stop: CancellationToken) {
    let found = tokio::task::spawn_blocking(move || open::verify_older_blocks(&log, &stop)).await;
    if let Ok(Some(damage)) = found {
        // Sending fails if the chain has stopped, and then nothing is signed anyway.
        let _ = chain.send(Command::LogDamaged(chained(&damage))).await;
    }
}

async fn first_address(mut listen: tokio::sync::watch::Receiver<Vec<String>>) -> Vec<String> {
    // A node without a listen address runs all the same: it only dials.
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

/// Checks free disk space, which stops the node when it runs out, and warns once if the wall clock jumps.
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
