//! The network task: it drives the swarm; one writer and one reader task per peer move direct messages.

mod messages;
mod peers;
pub(crate) mod provide;
mod start;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm,
    gossipsub::TopicHash,
    identify, kad,
    multiaddr::Protocol,
    request_response::{InboundRequestId, OutboundRequestId, ResponseChannel},
    swarm::{
        ConnectionId, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use protocol::{NodeId, Time};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    NetEvent, Offence, RequestError, RequestId, Topic,
    behaviour::{Behaviour, BehaviourEvent},
    data::AddressBook,
    dialer::{Dialer, Target},
    direct::Ended,
    handle::{Command, Links},
    identity,
    metrics::Counters,
    peer_scores::PeerScores,
    settings::{ChainTag, Limits},
};

pub use start::Net;

const TICK: Duration = Duration::from_millis(100);
/// Time within which a peer must identify its chain, or be disconnected.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(15);

/// The receiver of a request's reply.
type ReplySender = oneshot::Sender<Result<Vec<u8>, RequestError>>;

/// A peer with at least one connection.
struct Peer {
    since: Instant,
    address: Multiaddr,
    outbound: bool,
    /// The writer task's stream queue; `None` until the peer has identified itself as on our chain.
    link: Option<mpsc::Sender<Stream>>,
    /// A stream that the peer opened before it was identified.
    early: Option<Stream>,
    reader: Option<AbortHandle>,
}

struct Node {
    swarm: Swarm<Behaviour>,
    chain: ChainTag,
    limits: Limits,
    topics: [(TopicHash, Topic); 3],
    announcements: TopicHash,
    provide: provide::Provide,
    addresses: Option<AddressBook>,
    started: Instant,
    dialer: Dialer,
    dials: HashMap<ConnectionId, Target>,
    scores: PeerScores,
    peers: BTreeMap<PeerId, Peer>,
    /// Peers on other chains that were logged. Logged once, not at every attempt.
    foreign: BTreeSet<PeerId>,
    sent_requests: HashMap<OutboundRequestId, (NodeId, ReplySender)>,
    open_requests: HashMap<InboundRequestId, ResponseChannel<Vec<u8>>>,
    readers: JoinSet<(NodeId, Ended)>,
    /// Connection events that wait for space in `events`. They are never dropped.
    pending_events: VecDeque<NetEvent>,
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
                room = events.reserve(), if !self.pending_events.is_empty() => match room {
                    Ok(room) => self.deliver_event(room),
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
        // Dropping the queues ends the writers; dropping the swarm ends the connections, and with them the readers.
        self.links.write().clear();
    }

    fn now(&self) -> Time {
        Time(0).after(self.started.elapsed())
    }

    fn tick(&mut self) {
        let now = self.now();
        for node in self.scores.end_bans(now) {
            if let Some(peer) = identity::peer_id(node) {
                self.swarm.behaviour_mut().banned.unblock_peer(peer);
            }
        }
        self.end_searches();
        let silent: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.link.is_none() && peer.since.elapsed() > IDENTIFY_WITHIN)
            .map(|(&peer, _)| peer)
            .collect();
        for peer in silent {
            tracing::info!(%peer, "disconnected a peer that did not identify its chain");
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let room = usize::try_from(self.limits.peers_max)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.peers.len());
        if room > 0 {
            for (target, addresses) in self.dialer.due(now) {
                self.dial(target, addresses);
            }
        }
    }

    fn dial(&mut self, target: Target, mut addresses: Vec<Multiaddr>) {
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
                self.dials.insert(id, target);
            }
            Err(error) => self.dial_failed(&target, &error),
        }
    }

    fn dial_failed(&mut self, target: &Target, error: &DialError) {
        match error {
            DialError::LocalPeerId { .. } => self.dialer.forget(target),
            // Connected already or about to be: its own event reports that.
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
                let channel = self.open_requests.remove(&id);
                let sent = channel.map(|channel| self.swarm.behaviour_mut().requests.send_response(channel, bytes));
                if !matches!(sent, Some(Ok(()))) {
                    self.counters.responses_dropped.one();
                }
            }
            Command::Announce(said) => self.announce(&said),
            Command::Provide(claim) => self.provide(claim),
            Command::Withdraw(root) => self.withdraw(root),
            Command::Search(root, answer) => self.search(root, answer),
            Command::Report(node, offence) => self.report(node, offence),
            Command::Ban(node) => self.ban(node),
            Command::Dial(address) => {
                let now = self.now();
                self.dialer.keep(now, address);
            }
        }
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
                let call = self.dials.remove(&connection_id);
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
            } => self.disconnected(peer_id),
            SwarmEvent::OutgoingConnectionError {
                connection_id, error, ..
            } => {
                if let Some(target) = self.dials.remove(&connection_id) {
                    self.dial_failed(&target, &error);
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
                self.queue_event(NetEvent::Listening(named.to_string()));
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed"),
            _ => (),
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, &info)
            }
            BehaviourEvent::Gossip(event) => self.gossip_event(event),
            BehaviourEvent::Requests(event) => self.request_event(event),
            BehaviourEvent::Direct(event) => self.stream_event(event),
            BehaviourEvent::Claims(event) => self.claim_event(event),
            BehaviourEvent::Discovery(kad::Event::OutboundQueryProgressed {
                id,
                result: kad::QueryResult::GetProviders(result),
                step,
                ..
            }) => self.search_event(id, result, step.last),
            BehaviourEvent::Discovery(kad::Event::InboundRequest {
                request: kad::InboundRequest::AddProvider { record: Some(record) },
            }) => self.keep_record(record),
            BehaviourEvent::Discovery(kad::Event::RoutingUpdated { peer, addresses, .. }) => {
                let (now, connected) = (self.now(), self.peers.contains_key(&peer));
                addresses
                    .iter()
                    .for_each(|address| self.dialer.learn(now, peer, address.clone(), connected));
            }
            BehaviourEvent::Discovery(kad::Event::RoutablePeer { peer, address }) => {
                // Found during a query. It is dialled and identifies its chain itself.
                let (now, connected) = (self.now(), self.peers.contains_key(&peer));
                self.dialer.learn(now, peer, address, connected);
            }
            _ => (),
        }
    }
}
