//! Outgoing connections: one for each peer and protocol, shared by all who need it, closed when nobody does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use iroh::{
    Endpoint, EndpointId,
    endpoint::{Connection, VarInt},
};
use protocol::NodeId;
use tokio::sync::OnceCell;

use super::Alpn;

/// Closed because it is not needed.
const UNUSED: VarInt = VarInt::from_u32(0);

/// Why a peer could not be reached for data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The name is not a public key.
    #[error("{node:#} is not the name of a node")]
    NoKey {
        /// What was given.
        node: NodeId,
    },
    /// It is us.
    #[error("a node does not call itself")]
    Itself,
    /// Nobody answered, or not for this protocol.
    #[error("could not reach {node:#} for data: {why}")]
    Unreachable {
        /// Who was called.
        node: NodeId,
        /// What happened.
        why: String,
    },
    /// No answer in time.
    #[error("{node:#} did not answer in time")]
    Timeout {
        /// Who was called.
        node: NodeId,
    },
    /// The connection was there and broke.
    #[error("the connection with {node:#} broke: {why}")]
    Broken {
        /// The other side.
        node: NodeId,
        /// What happened.
        why: String,
    },
    /// The data plane was shut down.
    #[error("the data plane is shut down")]
    Down,
}

/// How data flows to a peer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPath {
    /// Where to: an address, or the relay.
    pub address: String,
    /// Whether it goes over a relay.
    pub relayed: bool,
    /// There and back.
    pub rtt: Duration,
}

impl DataPath {
    pub(crate) fn of(connection: &Connection) -> Option<Self> {
        let paths = connection.paths();
        let path = paths
            .iter()
            .find(|path| path.is_selected())
            .or_else(|| paths.iter().next())?;
        Some(Self {
            address: match path.remote_addr() {
                iroh::TransportAddr::Ip(address) => address.to_string(),
                iroh::TransportAddr::Relay(url) => url.to_string(),
                other => format!("{other:?}"),
            },
            relayed: path.is_relay(),
            rtt: path.rtt(),
        })
    }
}

#[derive(Debug, Default)]
struct Slot {
    connection: OnceCell<Connection>,
    used: Mutex<Option<Instant>>,
}

/// A connection in use: it is not closed for idleness while this lives.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) connection: Connection,
    slot: Arc<Slot>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.slot.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<BTreeMap<(NodeId, Alpn), Arc<Slot>>>);

impl Links {
    /// The connection there is, or one that is made now; callers at the same time share the attempt.
    pub(crate) async fn get(
        &self,
        endpoint: &Endpoint,
        node: NodeId,
        id: EndpointId,
        alpn: &Alpn,
        within: Duration,
    ) -> Result<Lease, OpenError> {
        let slot = self.slot(node, alpn);
        let call = async {
            match tokio::time::timeout(within, endpoint.connect(id, &alpn.0)).await {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(OpenError::Unreachable {
                    node,
                    why: format!("{error:#}"),
                }),
                Err(_) => Err(OpenError::Timeout { node }),
            }
        };
        let connection = slot.connection.get_or_try_init(|| call).await?.clone();
        Ok(Lease { connection, slot })
    }

    fn slot(&self, node: NodeId, alpn: &Alpn) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry((node, alpn.clone())).or_default();
        if slot
            .connection
            .get()
            .is_some_and(|connection| connection.close_reason().is_some())
        {
            *slot = Arc::default();
        }
        slot.clone()
    }

    /// Closes what nobody has used for `idle`.
    pub(crate) fn sweep(&self, idle: Duration) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            let used = *slot.used.lock().unwrap_or_else(PoisonError::into_inner);
            let closed = slot
                .connection
                .get()
                .is_none_or(|connection| connection.close_reason().is_some());
            let old = used.is_some_and(|used| used.elapsed() >= idle);
            let keep = Arc::strong_count(slot) > 1 || (!closed && !old);
            if !keep && let Some(connection) = slot.connection.get() {
                connection.close(UNUSED, b"not needed now");
            }
            keep
        });
    }

    /// Closes the connections with one peer.
    pub(crate) fn hang_up(&self, node: NodeId) {
        self.close(|of| of == node);
    }

    pub(crate) fn clear(&self) {
        self.close(|_| true);
    }

    fn close(&self, which: impl Fn(NodeId) -> bool) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|(node, _), slot| {
            let close = which(*node);
            if close && let Some(connection) = slot.connection.get() {
                connection.close(UNUSED, b"goodbye");
            }
            !close
        });
    }

    pub(crate) fn path(&self, node: NodeId) -> Option<DataPath> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots
            .iter()
            .filter(|((of, _), _)| *of == node)
            .filter_map(|(_, slot)| slot.connection.get())
            .find(|connection| connection.close_reason().is_none())
            .and_then(DataPath::of)
    }
}
