//! The network over sockets: one task drives the swarm, one per peer writes, one per peer reads.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::{IpAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm, SwarmBuilder,
    gossipsub::{self, MessageAcceptance, PublishError, TopicHash},
    identify,
    identity::Keypair,
    kad,
    multiaddr::Protocol,
    noise,
    request_response::{self, InboundFailure, InboundRequestId, OutboundFailure, OutboundRequestId, ResponseChannel},
    swarm::{
        ConnectionId, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use protocol::{NodeId, Time};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    GossipId, NetConfig, NetEvent, NetHandle, Offence, PeerInfo, RequestError, RequestId, Topic, Verdict,
    behaviour::{self, Behaviour, BehaviourEvent, GOSSIP_BYTES_MAX},
    dialer::{Dialer, Target},
    direct::{self, Ended},
    handle::{Command, Link, Links},
    identity,
    metrics::Counters,
    settings::{ChainTag, Limits},
    standing::Standing,
    streams,
};

const COMMANDS_MAX: usize = 4096;
const TICK: Duration = Duration::from_millis(100);
/// Who has not said by then what chain it is on is disconnected.
const INTRODUCE_WITHIN: Duration = Duration::from_secs(15);
/// Questions of others that wait for an answer of this node.
const UNANSWERED_MAX: usize = 1024;
/// Comings and goings that the node has not heard of yet.
const OWED_MAX: usize = 1024;

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not an address.
    #[error("`{text}` is not an address; write one such as /ip4/127.0.0.1/tcp/4001 or /dns/node.example/tcp/4001")]
    Address {
        /// What was given.
        text: String,
    },
    /// The address is taken, or not of this machine.
    #[error("could not listen on {address}: {why}; is another node running, or the port taken?")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        why: String,
    },
    /// The transport could not be made.
    #[error("could not start the transport: {0}")]
    Transport(String),
}

/// The network over sockets.
pub struct Net;

impl Net {
    /// Listens, reaches out, and from then on reports through the receiver. Needs a tokio runtime around it.
    ///
    /// Ends when [`NetHandle::shutdown`] is called or the receiver is dropped.
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
            commands,
            links: Arc::new(Links::default()),
            counters: Arc::new(Counters::default()),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let mut dialer = Dialer::new(*swarm.local_peer_id());
        bootstrap.into_iter().for_each(|address| dialer.keep(Time(0), address));
        let node = Node {
            topics: Topic::ALL.map(|topic| (behaviour::topic(&config.chain, topic).hash(), topic)),
            swarm,
            chain: config.chain,
            limits: config.limits,
            started: Instant::now(),
            dialer,
            calls: HashMap::new(),
            standing: Standing::default(),
            peers: BTreeMap::new(),
            foreign: BTreeSet::new(),
            questions: HashMap::new(),
            unanswered: HashMap::new(),
            readers: JoinSet::new(),
            owed: VecDeque::new(),
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

pub(crate) fn parse_address(text: &str) -> Result<Multiaddr, StartError> {
    text.parse().map_err(|_| StartError::Address { text: text.to_owned() })
}

/// Whether the port is free. The transport shares ports, so two nodes on one would each get half of the calls.
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
    let behaviour = |key: &Keypair| Behaviour::new(key, &config.chain, &config.limits);
    let settle = |config: libp2p::swarm::Config| {
        // Peers stay, quiet or not: the default of ten seconds lets control links flap.
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

/// Where a question's answer is awaited.
type Answer = oneshot::Sender<Result<Vec<u8>, RequestError>>;

/// A peer with at least one connection.
struct Peer {
    since: Instant,
    address: Multiaddr,
    outbound: bool,
    /// What it takes to send to it; none until it has said that it is on our chain.
    link: Option<mpsc::Sender<Stream>>,
    /// It opened this before it was introduced.
    early: Option<Stream>,
    reader: Option<AbortHandle>,
}

struct Node {
    swarm: Swarm<Behaviour>,
    chain: ChainTag,
    limits: Limits,
    topics: [(TopicHash, Topic); 3],
    started: Instant,
    dialer: Dialer,
    calls: HashMap<ConnectionId, Target>,
    standing: Standing,
    peers: BTreeMap<PeerId, Peer>,
    /// Named once in the log, not at every attempt.
    foreign: BTreeSet<PeerId>,
    questions: HashMap<OutboundRequestId, (NodeId, Answer)>,
    unanswered: HashMap<InboundRequestId, ResponseChannel<Vec<u8>>>,
    readers: JoinSet<(NodeId, Ended)>,
    /// Comings and goings that wait for room in `events`: these are never dropped.
    owed: VecDeque<NetEvent>,
    events: mpsc::Sender<NetEvent>,
    broken: mpsc::Sender<NodeId>,
    links: Arc<Links>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
}

impl Node {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        mut broken: mpsc::Receiver<NodeId>,
        stop: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let events = self.events.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = events.closed() => break,
                room = events.reserve(), if !self.owed.is_empty() => match room {
                    Ok(room) => self.pay(room),
                    Err(_) => break,
                },
                Some(command) = inbox.recv() => self.command(command),
                event = self.swarm.select_next_some() => self.swarm_event(event),
                Some(node) = broken.recv() => self.open_stream(node),
                Some(ended) = self.readers.join_next() => {
                    if let Ok((from, Ended::Oversize)) = ended {
                        self.counters.oversize.one();
                        self.report(from, Offence::Oversize);
                    }
                }
                _ = tick.tick() => self.tick(),
            }
        }
        // Dropping the queues ends the writers, dropping the swarm the connections and with them the readers.
        self.links.write().clear();
    }

    fn now(&self) -> Time {
        Time(0).after(self.started.elapsed())
    }

    fn tick(&mut self) {
        let now = self.now();
        for node in self.standing.pardoned(now) {
            if let Some(peer) = identity::peer_id(node) {
                self.swarm.behaviour_mut().banned.unblock_peer(peer);
            }
        }
        let silent: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.link.is_none() && peer.since.elapsed() > INTRODUCE_WITHIN)
            .map(|(&peer, _)| peer)
            .collect();
        for peer in silent {
            tracing::info!(%peer, "disconnected a peer that did not introduce itself");
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let room = usize::try_from(self.limits.peers_max)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.peers.len());
        if room > 0 {
            for (target, addresses) in self.dialer.due(now) {
                self.call(target, addresses);
            }
        }
    }

    fn call(&mut self, target: Target, mut addresses: Vec<Multiaddr>) {
        let options: DialOpts = match &target {
            Target::Peer(peer) => DialOpts::peer_id(*peer)
                .addresses(addresses)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .build(),
            Target::Address(_) => DialOpts::unknown_peer_id()
                .address(addresses.pop().expect("an address target has one"))
                .build(),
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.calls.insert(id, target);
            }
            Err(error) => self.call_failed(&target, &error),
        }
    }

    fn call_failed(&mut self, target: &Target, error: &DialError) {
        match error {
            DialError::LocalPeerId { .. } => self.dialer.forget(target),
            // It is there, or on its way here: its own event says so.
            DialError::DialPeerConditionFalse(_) => {
                if let Target::Peer(peer) = target {
                    if self.peers.contains_key(peer) {
                        self.dialer.connected(Some(target), *peer);
                    } else {
                        self.dialer.failed(self.now(), target);
                    }
                }
            }
            error => {
                self.counters.dials_failed.one();
                tracing::debug!(?target, %error, "could not reach");
                self.dialer.failed(self.now(), target);
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Gossip(topic, bytes) => self.gossip(topic, bytes),
            Command::Verdict(id, verdict) => self.verdict(&id, verdict),
            Command::Request(to, bytes, answer) => self.request(to, bytes, answer),
            Command::Respond(RequestId(id), bytes) => {
                let channel = self.unanswered.remove(&id);
                let sent = channel.map(|channel| self.swarm.behaviour_mut().requests.send_response(channel, bytes));
                if !matches!(sent, Some(Ok(()))) {
                    self.counters.responses_dropped.one();
                }
            }
            Command::Report(node, offence) => self.report(node, offence),
            Command::Ban(node) => self.ban(node),
            Command::Dial(address) => {
                let now = self.now();
                self.dialer.keep(now, address);
            }
        }
    }

    fn gossip(&mut self, topic: Topic, bytes: Vec<u8>) {
        let topic = behaviour::topic(&self.chain, topic);
        match self.swarm.behaviour_mut().gossip.publish(topic, bytes) {
            Ok(_) => self.counters.gossip_sent.one(),
            Err(PublishError::Duplicate) => self.counters.gossip_duplicate.one(),
            Err(error) => {
                self.counters.gossip_unsent.one();
                tracing::debug!(%error, "not gossiped");
            }
        }
    }

    fn verdict(&mut self, id: &GossipId, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        self.swarm
            .behaviour_mut()
            .gossip
            .report_message_validation_result(&id.message, &id.source, acceptance);
        if verdict == Verdict::Reject {
            self.counters.gossip_rejected.one();
            if let Some(node) = identity::node_id(&id.source) {
                self.report(node, Offence::Invalid);
            }
        }
    }

    fn request(&mut self, to: NodeId, bytes: Vec<u8>, answer: Answer) {
        let known = identity::peer_id(to).filter(|peer| self.peers.get(peer).is_some_and(|peer| peer.link.is_some()));
        let Some(peer) = known else {
            self.counters.requests_failed.one();
            let _ = answer.send(Err(RequestError::NotConnected { to }));
            return;
        };
        self.counters.requests_sent.one();
        let id = self.swarm.behaviour_mut().requests.send_request(&peer, bytes);
        self.questions.insert(id, (to, answer));
    }

    fn report(&mut self, node: NodeId, offence: Offence) {
        let now = self.now();
        let banned = self.standing.offend(now, node, offence);
        let points = self.standing.points(now, node);
        if let Some(link) = self.links.write().get_mut(&node) {
            link.info.offence_points = points;
        }
        if let Some(peer) = identity::peer_id(node) {
            let score = f64::from(-i32::try_from(points).unwrap_or(i32::MAX));
            self.swarm.behaviour_mut().gossip.set_application_score(&peer, score);
        }
        if banned {
            self.ban(node);
        }
    }

    fn ban(&mut self, node: NodeId) {
        let Some(peer) = identity::peer_id(node) else { return };
        if !self.standing.is_banned(node) {
            self.counters.bans.one();
            tracing::warn!(peer = %format_args!("{node:#}"), seconds = self.limits.ban.as_secs(), "banned");
        }
        self.standing.ban(self.now(), node, self.limits.ban);
        self.dialer.forget(&Target::Peer(peer));
        self.dialer.foreign(peer);
        self.swarm.behaviour_mut().banned.block_peer(peer);
    }

    fn swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let call = self.calls.remove(&connection_id);
                self.dialer.connected(call.as_ref(), peer_id);
                self.peers.entry(peer_id).or_insert_with(|| Peer {
                    since: Instant::now(),
                    address: endpoint.get_remote_address().clone(),
                    outbound: endpoint.is_dialer(),
                    link: None,
                    early: None,
                    reader: None,
                });
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => self.gone(peer_id),
            SwarmEvent::OutgoingConnectionError {
                connection_id, error, ..
            } => {
                if let Some(target) = self.calls.remove(&connection_id) {
                    self.call_failed(&target, &error);
                }
            }
            SwarmEvent::IncomingConnectionError {
                error: libp2p::swarm::ListenError::Denied { .. },
                ..
            } => {
                self.counters.connections_refused.one();
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                let named = address.with(Protocol::P2p(*self.swarm.local_peer_id()));
                tracing::info!(address = %named, "listening");
                self.owe(NetEvent::Listening(named.to_string()));
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed"),
            _ => (),
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.introduced(peer_id, &info)
            }
            BehaviourEvent::Gossip(event) => self.gossip_event(event),
            BehaviourEvent::Requests(event) => self.request_event(event),
            BehaviourEvent::Direct(event) => self.stream_event(event),
            BehaviourEvent::Discovery(kad::Event::RoutingUpdated { peer, addresses, .. }) => {
                let (now, connected) = (self.now(), self.peers.contains_key(&peer));
                addresses
                    .iter()
                    .for_each(|address| self.dialer.learn(now, peer, address.clone(), connected));
            }
            BehaviourEvent::Discovery(kad::Event::RoutablePeer { peer, address }) => {
                // Met on the way of a query. It is called, and says itself what chain it is on.
                let (now, connected) = (self.now(), self.peers.contains_key(&peer));
                self.dialer.learn(now, peer, address, connected);
            }
            _ => (),
        }
    }

    /// A peer said who it is. From here on it exists for the node, if it is on our chain.
    fn introduced(&mut self, peer_id: PeerId, info: &identify::Info) {
        let Some(node) = identity::node_id(&peer_id) else {
            return;
        };
        if info.protocol_version != self.chain.greeting() {
            self.refuse_foreign(peer_id, node, &info.protocol_version);
            return;
        }
        let now = self.now();
        let Some(peer) = self.peers.get_mut(&peer_id) else {
            return;
        };
        let is_local = is_loopback(&peer.address);
        for address in info
            .listen_addrs
            .iter()
            .filter(|address| is_local || !is_loopback(address))
            .take(8)
        {
            self.swarm
                .behaviour_mut()
                .discovery
                .add_address(&peer_id, address.clone());
            self.dialer.learn(now, peer_id, address.clone(), true);
        }
        if peer.link.is_some() {
            return;
        }
        if self.owed.len() >= OWED_MAX {
            // The node does not keep up with comings and goings: nobody new until it does.
            let _ = self.swarm.disconnect_peer_id(peer_id);
            return;
        }
        let (queue, backlog) = direct::queue(self.limits.queued_bytes_max);
        let (streams, incoming) = mpsc::channel(2);
        peer.link = Some(streams);
        let info = PeerInfo {
            id: node,
            address: peer.address.to_string(),
            outbound: peer.outbound,
            agent: info
                .agent_version
                .chars()
                .filter(|c| !c.is_control())
                .take(64)
                .collect(),
            offence_points: self.standing.points(now, node),
        };
        self.links.write().insert(node, Link { info, queue });
        self.tasks.spawn(direct::write(
            node,
            backlog,
            incoming,
            self.broken.clone(),
            self.counters.clone(),
        ));
        self.swarm.behaviour_mut().direct.open(peer_id);
        // One more node to ask who else is there.
        let _ = self.swarm.behaviour_mut().discovery.bootstrap();
        tracing::info!(peer = %format_args!("{node:#}"), "connected");
        self.owe(NetEvent::Connected(node));
    }

    fn refuse_foreign(&mut self, peer: PeerId, node: NodeId, greeting: &str) {
        self.counters.foreign_peers.one();
        if self.foreign.len() < 1024 && self.foreign.insert(peer) {
            let ours = crate::settings::hex(&self.chain.genesis);
            match ChainTag::from_greeting(greeting) {
                Some((id, genesis)) => tracing::warn!(
                    "peer {node:#} is on another chain (id {id}, genesis 0x{genesis:.64}; ours id {}, genesis 0x{ours})",
                    self.chain.chain_id
                ),
                None => tracing::warn!("peer {node:#} is no node of this software; it says {greeting:.64?}"),
            }
        }
        self.dialer.foreign(peer);
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    fn gone(&mut self, peer_id: PeerId) {
        let now = self.now();
        self.dialer.disconnected(now, peer_id);
        let Some(peer) = self.peers.remove(&peer_id) else {
            return;
        };
        if let Some(reader) = &peer.reader {
            // Nothing is heard from a peer after it is gone.
            reader.abort();
        }
        let Some(node) = identity::node_id(&peer_id).filter(|_| peer.link.is_some()) else {
            return;
        };
        self.links.write().remove(&node);
        tracing::info!(peer = %format_args!("{node:#}"), "disconnected");
        self.owe(NetEvent::Disconnected(node));
    }

    fn gossip_event(&mut self, event: gossipsub::Event) {
        let (source, message_id, message) = match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => (propagation_source, message_id, message),
            gossipsub::Event::SlowPeer { .. } => return self.counters.slow_peers.one(),
            _ => return,
        };
        self.counters.gossip_received.one();
        let id = GossipId {
            message: message_id,
            source,
        };
        let topic = self
            .topics
            .iter()
            .find(|(hash, _)| *hash == message.topic)
            .map(|&(_, topic)| topic);
        let (Some(topic), Some(from)) = (topic, identity::node_id(&source)) else {
            return self.verdict(&id, Verdict::Ignore);
        };
        if message.data.len() > GOSSIP_BYTES_MAX {
            self.counters.gossip_oversize.one();
            return self.verdict(&id, Verdict::Reject);
        }
        let event = NetEvent::Gossip {
            id: id.clone(),
            topic,
            from,
            bytes: message.data,
        };
        if self.events.try_send(event).is_err() {
            self.counters.gossip_dropped.one();
            self.verdict(&id, Verdict::Ignore);
        }
    }

    fn request_event(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        use request_response::{Event, Message};
        match event {
            Event::Message {
                peer,
                message:
                    Message::Request {
                        request_id,
                        request,
                        channel,
                    },
                ..
            } => {
                self.counters.requests_received.one();
                let Some(from) = identity::node_id(&peer) else { return };
                let event = NetEvent::Request {
                    from,
                    id: RequestId(request_id),
                    bytes: request,
                };
                // Dropping the channel tells the other side at once.
                if self.unanswered.len() >= UNANSWERED_MAX || self.events.try_send(event).is_err() {
                    return self.counters.requests_dropped.one();
                }
                self.unanswered.insert(request_id, channel);
            }
            Event::Message {
                message: Message::Response { request_id, response },
                ..
            } => {
                if let Some((_, answer)) = self.questions.remove(&request_id) {
                    let _ = answer.send(Ok(response));
                }
            }
            Event::OutboundFailure { request_id, error, .. } => {
                self.counters.requests_failed.one();
                let Some((to, answer)) = self.questions.remove(&request_id) else {
                    return;
                };
                let _ = answer.send(Err(match error {
                    OutboundFailure::Timeout => RequestError::Timeout { to },
                    error => RequestError::Failed {
                        to,
                        why: error.to_string(),
                    },
                }));
            }
            Event::InboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                self.unanswered.remove(&request_id);
                let is_oversize =
                    matches!(&error, InboundFailure::Io(io) if io.kind() == std::io::ErrorKind::InvalidData);
                if let Some(node) = identity::node_id(&peer).filter(|_| is_oversize) {
                    self.counters.oversize.one();
                    self.report(node, Offence::Oversize);
                }
            }
            Event::ResponseSent { .. } => (),
        }
    }

    fn stream_event(&mut self, event: streams::Event) {
        match event {
            streams::Event::Inbound(peer_id, stream) => {
                let Some(peer) = self.peers.get_mut(&peer_id) else {
                    return;
                };
                // Until the node has heard of a peer it must not hear from it.
                peer.early = Some(stream);
                if peer.link.is_some() && self.owed.is_empty() {
                    self.start_reader(peer_id);
                }
            }
            streams::Event::Outbound(peer_id, stream) => {
                if let Some(streams) = self.peers.get(&peer_id).and_then(|peer| peer.link.as_ref()) {
                    let _ = streams.try_send(stream);
                }
            }
            streams::Event::Failed(peer_id) => {
                let Some(node) = identity::node_id(&peer_id) else {
                    return;
                };
                let broken = self.broken.clone();
                self.tasks.spawn(async move {
                    tokio::time::sleep(TICK).await;
                    let _ = broken.send(node).await;
                });
            }
        }
    }

    /// Opens another stream to a peer that is still there.
    fn open_stream(&mut self, node: NodeId) {
        let Some(peer) = identity::peer_id(node).filter(|peer| self.peers.get(peer).is_some_and(|p| p.link.is_some()))
        else {
            return;
        };
        self.swarm.behaviour_mut().direct.open(peer);
    }

    fn start_reader(&mut self, peer_id: PeerId) {
        let Some(from) = identity::node_id(&peer_id) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&peer_id) else {
            return;
        };
        let Some(stream) = peer.early.take() else { return };
        let (max, events, counters) = (
            self.limits.message_bytes_max,
            self.events.clone(),
            self.counters.clone(),
        );
        let reader = self
            .readers
            .spawn(async move { (from, direct::read(from, stream, max, events, counters).await) });
        // A peer has one stream to us: a new one replaces it.
        if let Some(before) = peer.reader.replace(reader) {
            before.abort();
        }
    }

    fn owe(&mut self, event: NetEvent) {
        self.owed.push_back(event);
        while let Ok(room) = self.events.clone().try_reserve_owned() {
            let Some(event) = self.owed.pop_front() else { break };
            room.send(event);
        }
        self.start_early_readers();
    }

    fn pay(&mut self, room: mpsc::Permit<'_, NetEvent>) {
        if let Some(event) = self.owed.pop_front() {
            room.send(event);
        }
        self.start_early_readers();
    }

    fn start_early_readers(&mut self) {
        if !self.owed.is_empty() {
            return;
        }
        let waiting: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.link.is_some() && peer.early.is_some())
            .map(|(&peer, _)| peer)
            .collect();
        waiting.into_iter().for_each(|peer| self.start_reader(peer));
    }
}

fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}
