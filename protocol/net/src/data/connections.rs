//! Outgoing connections: one per peer and protocol, shared by its users, closed when idle.

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

/// Close code: no longer needed.
const UNUSED: VarInt = VarInt::from_u32(0);

/// Error of connecting to a peer on the data plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("{node:#} is not the name of a node")]
    NoKey { node: NodeId },
    #[error("a node does not call itself")]
    Itself,
    /// Not reachable, or it does not serve this protocol.
    #[error("could not reach {node:#} for data: {why}")]
    Unreachable { node: NodeId, why: String },
    #[error("{node:#} did not answer in time")]
    Timeout { node: NodeId },
    /// The connection was open and broke.
    #[error("the connection with {node:#} broke: {why}")]
    Broken { node: NodeId, why: String },
    #[error("the data plane is shut down")]
    Down,
}

/// The network path to a peer, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPath {
    /// An IP address, or a relay URL.
    pub address: String,
    pub relayed: bool,
    /// Round-trip time.
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

/// A connection in use. It is not closed as idle while this exists.
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
pub(crate) struct Connections(Mutex<BTreeMap<(NodeId, Alpn), Arc<Slot>>>);

impl Connections {
    /// Returns the existing connection, or opens one. Concurrent callers share the attempt.
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

    /// Closes connections that were unused for `idle`.
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
    pub(crate) fn disconnect(&self, node: NodeId) {
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
