//! Connected peers: identification, disconnection, streams for direct messages, and bans.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId, identify, multiaddr::Protocol};
use protocol::NodeId;
use tokio::sync::mpsc;

use crate::{
    NetEvent, Offence, PeerInfo, data::DataPorts, dialer::Target, direct, handle::Link, identity, settings::ChainTag,
    streams,
};

use super::{Node, TICK};

/// Most connection events that wait for the node.
const PENDING_EVENTS_MAX: usize = 1024;
/// Most listen addresses taken from one peer.
const LISTEN_ADDRESSES_MAX: usize = 8;

impl Node {
    /// A peer identified itself. If it is on our chain, the node learns of it.
    pub(super) fn identified(&mut self, peer_id: PeerId, info: &identify::Info) {
        let Some(node) = identity::node_id(&peer_id) else {
            return;
        };
        if info.protocol_version != self.chain.greeting() {
            self.refuse_foreign(peer_id, node, &info.protocol_version);
            return;
        }
        let Some(peer) = self.peers.get(&peer_id) else {
            return;
        };
        let address = peer.address.clone();
        let is_connected = peer.link.is_some();
        self.add_addresses(peer_id, &address, &info.listen_addrs);
        if is_connected {
            return;
        }
        if self.pending_events.len() >= PENDING_EVENTS_MAX {
            // The node is behind with connection events: accept no new peer until it catches up.
            let _ = self.swarm.disconnect_peer_id(peer_id);
            return;
        }
        self.connected(peer_id, node, info);
    }

    /// Adds a peer's listen addresses to the directory and the dialer. Loopback ones count only if it connected from there.
    fn add_addresses(&mut self, peer_id: PeerId, from: &Multiaddr, listen: &[Multiaddr]) {
        let (now, is_local) = (self.now(), is_loopback(from));
        for address in listen
            .iter()
            .filter(|address| is_local || !is_loopback(address))
            .take(LISTEN_ADDRESSES_MAX)
        {
            self.swarm
                .behaviour_mut()
                .discovery
                .add_address(&peer_id, address.clone());
            self.dialer.learn(now, peer_id, address.clone(), true);
        }
    }

    /// Starts a peer's writer and reports it to the node.
    fn connected(&mut self, peer_id: PeerId, node: NodeId, info: &identify::Info) {
        let now = self.now();
        let Some(peer) = self.peers.get_mut(&peer_id) else {
            return;
        };
        let data = ip(&peer.address).and_then(|ip| match &self.addresses {
            Some(book) => book.add_from_identify(node, ip, &info.agent_version),
            None => DataPorts::from_agent(&info.agent_version).at(ip),
        });
        let (queue, queued) = direct::queue(self.limits.queued_bytes_max);
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
            data,
            offence_points: self.scores.points(now, node),
        };
        self.links.write().insert(node, Link { info, queue });
        self.tasks.spawn(direct::write(
            node,
            queued,
            incoming,
            self.broken.clone(),
            self.counters.clone(),
        ));
        self.swarm.behaviour_mut().direct.open(peer_id);
        // One more peer to discover others through.
        let _ = self.swarm.behaviour_mut().discovery.bootstrap();
        tracing::info!(peer = %format_args!("{node:#}"), "connected");
        self.queue_event(NetEvent::Connected(node));
    }

    pub(super) fn refuse_foreign(&mut self, peer: PeerId, node: NodeId, greeting: &str) {
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

    pub(super) fn disconnected(&mut self, peer_id: PeerId) {
        let now = self.now();
        self.dialer.disconnected(now, peer_id);
        let Some(peer) = self.peers.remove(&peer_id) else {
            return;
        };
        if let Some(reader) = &peer.reader {
            // No message of a peer follows its `Disconnected` event.
            reader.abort();
        }
        let Some(node) = identity::node_id(&peer_id).filter(|_| peer.link.is_some()) else {
            return;
        };
        self.links.write().remove(&node);
        if let Some(book) = &self.addresses {
            book.disconnected(node);
        }
        tracing::info!(peer = %format_args!("{node:#}"), "disconnected");
        self.queue_event(NetEvent::Disconnected(node));
    }

    pub(super) fn report(&mut self, node: NodeId, offence: Offence) {
        let now = self.now();
        let banned = self.scores.offend(now, node, offence);
        let points = self.scores.points(now, node);
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

    pub(super) fn ban(&mut self, node: NodeId) {
        let Some(peer) = identity::peer_id(node) else { return };
        if !self.scores.is_banned(node) {
            self.counters.bans.one();
            tracing::warn!(peer = %format_args!("{node:#}"), seconds = self.limits.ban.as_secs(), "banned");
        }
        self.scores.ban(self.now(), node, self.limits.ban);
        self.dialer.forget(&Target::Peer(peer));
        self.dialer.foreign(peer);
        self.swarm.behaviour_mut().banned.block_peer(peer);
    }

    pub(super) fn stream_event(&mut self, event: streams::Event) {
        match event {
            streams::Event::Inbound(peer_id, stream) => {
                let Some(peer) = self.peers.get_mut(&peer_id) else {
                    return;
                };
                // No message of a peer precedes its `Connected` event.
                peer.early = Some(stream);
                if peer.link.is_some() && self.pending_events.is_empty() {
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

    /// Opens another stream to a peer that is still connected.
    pub(super) fn open_stream(&mut self, node: NodeId) {
        let Some(peer) = identity::peer_id(node).filter(|peer| self.peers.get(peer).is_some_and(|p| p.link.is_some()))
        else {
            return;
        };
        self.swarm.behaviour_mut().direct.open(peer);
    }

    pub(super) fn start_reader(&mut self, peer_id: PeerId) {
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
        // A peer has one stream to us: a new one replaces the old.
        if let Some(before) = peer.reader.replace(reader) {
            before.abort();
        }
    }

    pub(super) fn queue_event(&mut self, event: NetEvent) {
        self.pending_events.push_back(event);
        while let Ok(room) = self.events.clone().try_reserve_owned() {
            let Some(event) = self.pending_events.pop_front() else {
                break;
            };
            room.send(event);
        }
        self.start_early_readers();
    }

    pub(super) fn deliver_event(&mut self, room: mpsc::Permit<'_, NetEvent>) {
        if let Some(event) = self.pending_events.pop_front() {
            room.send(event);
        }
        self.start_early_readers();
    }

    pub(super) fn start_early_readers(&mut self) {
        if !self.pending_events.is_empty() {
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

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::from(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::from(ip)),
        _ => None,
    })
}

fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}
