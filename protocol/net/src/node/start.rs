//! Starting the network: transport, listeners, first addresses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::{IpAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, Swarm, SwarmBuilder, identity::Keypair, multiaddr::Protocol, noise, tcp, yamux};
use protocol::Time;
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    NetConfig, NetEvent, NetHandle, StartError, Topic,
    behaviour::{self, Behaviour},
    data::AddressBook,
    dialer::Dialer,
    handle::Links,
    identity,
    metrics::Counters,
    peer_scores::PeerScores,
    settings::parse_address,
};

use super::{Node, provide::Provide};

const COMMANDS_MAX: usize = 4096;
/// Most announcements that a subscriber may be behind.
const ANNOUNCEMENTS_MAX: usize = 4096;

/// Starts networks over sockets.
pub struct Net;

impl Net {
    /// Starts the network; its events come through the receiver. Must be called within a tokio runtime.
    ///
    /// The network ends when [`NetHandle::shutdown`] is called or the receiver is dropped.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// use net::{ChainTag, Net, NetConfig, NetEvent};
    ///
    /// let chain = ChainTag { chain_id: 7, genesis: [9; 32] };
    /// let (handle, mut events) = Net::start(NetConfig::new([1; 32], chain)).await.unwrap();
    /// assert!(matches!(events.recv().await, Some(NetEvent::Listening(_))));
    /// handle.shutdown().await;
    /// # });
    /// ```
    pub async fn start(config: NetConfig) -> Result<(NetHandle, mpsc::Receiver<NetEvent>), StartError> {
        let bootstrap = config
            .bootstrap
            .iter()
            .map(|text| parse_address(text))
            .collect::<Result<Vec<_>, _>>()?;
        let listen = config
            .listen
            .iter()
            .map(|text| parse_address(text))
            .collect::<Result<Vec<_>, _>>()?;
        let mut swarm = swarm(&config)?;
        for address in listen {
            let failed = |why: String| StartError::Listen {
                address: address.to_string(),
                why,
            };
            probe(&address).map_err(|error| failed(error.to_string()))?;
            swarm
                .listen_on(address.clone())
                .map_err(|error| failed(error.to_string()))?;
        }
        let me = identity::node_id(swarm.local_peer_id()).expect("our key is ed25519");
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (events, receiver) = mpsc::channel(config.limits.events_max);
        let (broken, broken_streams) = mpsc::channel(256);
        let handle = NetHandle {
            me,
            limits: config.limits,
            announcements: broadcast::Sender::new(ANNOUNCEMENTS_MAX),
            commands,
            links: Arc::new(Links::default()),
            counters: Arc::new(Counters::default()),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let mut dialer = Dialer::new(*swarm.local_peer_id());
        bootstrap.into_iter().for_each(|address| dialer.keep(Time(0), address));
        let node = Node {
            announcements: behaviour::announcements(&config.chain).hash(),
            provide: Provide::new(config.chain.domain(), handle.announcements.clone()),
            addresses: config.data,
            topics: Topic::ALL.map(|topic| (behaviour::topic(&config.chain, topic).hash(), topic)),
            swarm,
            chain: config.chain,
            limits: config.limits,
            started: Instant::now(),
            dialer,
            dials: HashMap::new(),
            scores: PeerScores::default(),
            peers: BTreeMap::new(),
            foreign: BTreeSet::new(),
            sent_requests: HashMap::new(),
            open_requests: HashMap::new(),
            readers: JoinSet::new(),
            pending_events: VecDeque::new(),
            events,
            broken,
            links: handle.links.clone(),
            counters: handle.counters.clone(),
            tasks: handle.tasks.clone(),
        };
        handle.tasks.spawn(node.run(inbox, broken_streams, handle.stop.clone()));
        Ok((handle, receiver))
    }
}

/// Checks that the port is free. The transport shares ports, so two nodes on one port would each get half of the
/// connections.
fn probe(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) => TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// Returns the agent string for `identify`: the software, and this node's data ports.
fn agent(config: &NetConfig) -> String {
    let alone = || crate::data::DataPorts::default().agent();
    config.data.as_ref().map_or_else(alone, AddressBook::agent)
}

fn swarm(config: &NetConfig) -> Result<Swarm<Behaviour>, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Transport(error.to_string());
    let key = identity::keypair(config.seed.0);
    let transport = || {
        let builder = SwarmBuilder::with_existing_identity(key.clone())
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                yamux::Config::default,
            )
            .map_err(|error| failed(&error))?;
        #[cfg(feature = "quic")]
        let builder = builder.with_quic();
        Ok::<_, StartError>(builder)
    };
    let behaviour = |key: &Keypair| Behaviour::new(key, &config.chain, &config.limits, agent(config));
    let settle = |config: libp2p::swarm::Config| {
        // Peers stay connected while idle: with the default of ten seconds, control connections flap.
        config
            .with_idle_connection_timeout(Duration::from_secs(3600))
            .with_max_negotiating_inbound_streams(256)
    };
    match transport()?.with_dns() {
        Ok(builder) => {
            let builder = builder.with_behaviour(behaviour).map_err(|error| failed(&error))?;
            Ok(builder.with_swarm_config(settle).build())
        }
        Err(error) => {
            tracing::warn!(%error, "no name resolution on this machine: addresses must be numbers");
            let builder = transport()?.with_behaviour(behaviour).map_err(|error| failed(&error))?;
            Ok(builder.with_swarm_config(settle).build())
        }
    }
}
