//! Addresses of peers on the data plane.
//!
//! A node tells its UDP ports in the agent string of `identify`; the IP address is that of its control connection. A relay is
//! told the same way, and used only if it is our own relay too, so that a peer cannot choose which hosts this node contacts.
//! The book forgets a peer some time after it has disconnected.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use iroh::{EndpointAddr, EndpointId, RelayUrl, address_lookup::MemoryLookup};
use protocol::NodeId;

/// Time for which a disconnected peer's address is kept.
const KEEP_DISCONNECTED: Duration = Duration::from_secs(600);
const REMEMBERED: usize = 4096;
/// Prefix of a relay in the agent string.
const RELAY: &str = "relay=";

/// The UDP ports on which a node accepts data connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataPorts {
    pub v4: Option<u16>,
    pub v6: Option<u16>,
}

impl DataPorts {
    /// Returns the agent string for `identify`, such as `openledger/0.1.0 data4=4002 data6=4002`.
    pub(crate) fn agent(self) -> String {
        let mut text = concat!("openledger/", env!("CARGO_PKG_VERSION")).to_owned();
        for (name, port) in [("data4", self.v4), ("data6", self.v6)] {
            if let Some(port) = port {
                text += &format!(" {name}={port}");
            }
        }
        text
    }

    /// Parses another node's agent string. Missing or invalid ports become `None`.
    pub(crate) fn from_agent(agent: &str) -> Self {
        let port = |name: &str| {
            let word = agent.split(' ').find_map(|word| word.strip_prefix(name))?;
            word.parse().ok().filter(|port| *port != 0)
        };
        Self {
            v4: port("data4="),
            v6: port("data6="),
        }
    }

    /// Returns the address of a node with these ports at `ip`.
    pub(crate) fn at(self, ip: IpAddr) -> Option<SocketAddr> {
        let port = if ip.is_ipv4() { self.v4 } else { self.v6 };
        port.map(|port| SocketAddr::new(ip, port))
    }
}

/// Data addresses of peers. Clones share the book: the control plane writes, the data plane reads.
#[derive(Clone, Debug, Default)]
pub struct AddressBook {
    lookup: MemoryLookup,
    gone: Arc<Mutex<BTreeMap<NodeId, Instant>>>,
    ports: DataPorts,
    /// The relay over which this node can be reached if there is no direct path.
    relay: Option<RelayUrl>,
}

impl AddressBook {
    pub(crate) fn new(lookup: MemoryLookup, ports: DataPorts) -> Self {
        Self {
            lookup,
            gone: Arc::default(),
            ports,
            relay: None,
        }
    }

    /// Sets this node's relay, which is also used for peers that name the same one.
    pub fn with_relay(self, relay: Option<&str>) -> Self {
        let relay = relay.and_then(|relay| relay.parse().ok());
        Self { relay, ..self }
    }

    /// Returns this node's agent string for `identify`.
    pub(crate) fn agent(&self) -> String {
        match &self.relay {
            None => self.ports.agent(),
            Some(relay) => format!("{} {RELAY}{relay}", self.ports.agent()),
        }
    }

    /// Adds the data address of a peer at `ip` from its agent string.
    pub(crate) fn add_from_identify(&self, node: NodeId, ip: IpAddr, agent: &str) -> Option<SocketAddr> {
        let address = DataPorts::from_agent(agent).at(ip);
        let said = agent.split(' ').find_map(|word| word.strip_prefix(RELAY));
        let shared = self
            .relay
            .clone()
            .filter(|ours| said.and_then(|said| said.parse::<RelayUrl>().ok()).as_ref() == Some(ours));
        if address.is_some() || shared.is_some() {
            self.enter(node, address, shared);
        }
        address
    }

    /// Returns this node's ports.
    pub fn ports(&self) -> DataPorts {
        self.ports
    }

    /// Sets the address of a peer. Returns false if the node id is not a public key.
    pub fn insert(&self, node: NodeId, address: SocketAddr) -> bool {
        self.enter(node, Some(address), None)
    }

    fn enter(&self, node: NodeId, address: Option<SocketAddr>, relay: Option<RelayUrl>) -> bool {
        let Some(id) = endpoint_id(node) else { return false };
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        let mut place = EndpointAddr::new(id);
        if let Some(address) = address {
            place = place.with_ip_addr(address);
        }
        if let Some(relay) = relay {
            place = place.with_relay_url(relay);
        }
        self.lookup.set_endpoint_info(place);
        true
    }

    /// Returns the last known address of a peer.
    pub fn get(&self, node: NodeId) -> Option<SocketAddr> {
        let info = self.lookup.get_endpoint_info(endpoint_id(node)?)?;
        info.ip_addrs().next().copied()
    }

    /// Marks a peer as disconnected. Its address is forgotten if it stays away.
    pub fn disconnected(&self, node: NodeId) {
        self.disconnected_at(Instant::now(), node);
    }

    fn disconnected_at(&self, now: Instant, node: NodeId) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.insert(node, now);
        let full = gone.len() > REMEMBERED;
        gone.retain(|&node, left| {
            let keep = !full && now.duration_since(*left) < KEEP_DISCONNECTED;
            if !keep && let Some(id) = endpoint_id(node) {
                self.lookup.remove_endpoint_info(id);
            }
            keep
        });
    }
}

/// Returns iroh's id for a node, or `None` if the bytes are not a curve point.
pub(crate) fn endpoint_id(node: NodeId) -> Option<EndpointId> {
    EndpointId::from_bytes(&node.0).ok()
}

/// Returns the node id of an iroh endpoint.
pub(crate) fn node_id(id: EndpointId) -> NodeId {
    NodeId(*id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        node_id(iroh::SecretKey::from_bytes(&[n; 32]).public())
    }

    #[test]
    fn one_seed_gives_one_node_id_on_both_planes() {
        for n in 0..=255 {
            let peer = crate::identity::keypair([n; 32]).public().to_peer_id();
            let id = iroh::SecretKey::from_bytes(&[n; 32]).public();
            assert_eq!(crate::identity::node_id(&peer), Some(node_id(id)));
            assert_eq!(endpoint_id(node_id(id)), Some(id));
        }
    }

    #[test]
    fn a_node_id_that_is_not_a_key_has_no_address() {
        let nobody = (0..=255)
            .map(|n| NodeId([n; 32]))
            .find(|node| endpoint_id(*node).is_none())
            .expect("half of all bytes are no point");
        assert!(!AddressBook::default().insert(nobody, SocketAddr::from(([127, 0, 0, 1], 1))));
    }

    #[test]
    fn ports_are_parsed_from_the_agent_string() {
        for ports in [
            DataPorts::default(),
            DataPorts {
                v4: Some(4002),
                v6: None,
            },
            DataPorts {
                v4: Some(1),
                v6: Some(2),
            },
        ] {
            assert_eq!(DataPorts::from_agent(&ports.agent()), ports);
        }
        assert_eq!(
            DataPorts::from_agent("other/1 data4=x data6=99999"),
            DataPorts::default()
        );
    }

    #[test]
    fn a_peer_is_reached_only_over_a_relay_that_both_use() {
        let ports = DataPorts {
            v4: Some(4002),
            v6: None,
        };
        let book = |relay: &str| {
            AddressBook {
                ports,
                ..AddressBook::default()
            }
            .with_relay(Some(relay))
        };
        let (ours, theirs) = (book("https://relay.example"), book("https://elsewhere.example"));
        let ip = IpAddr::from([10, 0, 0, 7]);
        let relays = |of: u8| {
            let info = ours.lookup.get_endpoint_info(endpoint_id(node(of)).expect("a key"));
            info.expect("it was met").relay_urls().count()
        };
        for (of, agent, expect) in [
            (1, ours.agent(), 1),
            (2, theirs.agent(), 0),
            (3, ports.agent(), 0),
            (4, "openledger/0.1.0 data4=4002 relay=:::".to_owned(), 0),
        ] {
            assert_eq!(
                ours.add_from_identify(node(of), ip, &agent),
                Some(SocketAddr::new(ip, 4002)),
                "{agent}"
            );
            assert_eq!(relays(of), expect, "{agent}");
        }
        // A node without a direct address is reached over the relay alone.
        assert_eq!(
            ours.add_from_identify(node(5), ip, "openledger/0.1.0 relay=https://relay.example/"),
            None
        );
        assert_eq!(relays(5), 1);
    }

    #[test]
    fn a_disconnected_peer_is_forgotten_unless_it_returns() {
        let (book, now) = (AddressBook::default(), Instant::now());
        let address = SocketAddr::from(([127, 0, 0, 1], 4002));
        for n in 1..=2 {
            assert!(book.insert(node(n), address));
            book.disconnected_at(now, node(n));
        }
        assert!(book.insert(node(2), address));
        book.disconnected_at(now + KEEP_DISCONNECTED, node(3));
        assert_eq!((book.get(node(1)), book.get(node(2))), (None, Some(address)));
    }
}
