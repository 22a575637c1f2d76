//! The iroh endpoint: binding sockets, the accept loop, and shutdown.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use iroh::{
    Endpoint, RelayMode,
    address_lookup::MemoryLookup,
    endpoint::{Incoming, QuicTransportConfig, VarInt, presets},
};
use iroh_blobs::api::Store;
use iroh_mdns_address_lookup::MdnsAddressLookup;
use protocol::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    AddressBook, Alpn, ByteStream, DataConfig, DataLimits, DataMetrics, DataPath, DataPorts, Fetch, OpenError,
    RateLimit, Share, StreamHandler, Wanted,
    addresses::{self, endpoint_id},
    connections::{Connections, Lease},
    rate_limit::PeerRateLimits,
    serve::{self, ServicePeers},
    settings::DataCounters,
    stream,
    swarm::Blamed,
};

/// Most concurrent requests on one connection. [`DataLimits`] bounds a peer's connections together.
const STREAMS_MAX: u32 = 128;
/// Most responses that are read far ahead of their connections, by about 4 MiB each. Others are read as they are sent.
const AHEAD_MAX: usize = 32;
/// Close code: connection refused.
pub(crate) const REFUSED: VarInt = VarInt::from_u32(1);

/// Error of starting the data plane.
#[derive(Debug, thiserror::Error)]
pub enum DataStartError {
    #[error("could not listen for data on {address}: {why}; is the port taken, or the address not of this machine?")]
    Listen {
        /// The address, or all of them.
        address: String,
        why: String,
    },
    #[error("`{text}` is not the address of a relay; write one such as https://relay.example")]
    Relay { text: String },
}

/// The service on an ALPN protocol.
#[derive(Clone)]
pub(crate) enum Service {
    Blobs(Share, Arc<ServicePeers>),
    Streams(Arc<dyn StreamHandler>, Arc<ServicePeers>),
}

impl Service {
    fn peers(&self) -> &ServicePeers {
        match self {
            Self::Blobs(_, peers) | Self::Streams(_, peers) => peers,
        }
    }
}

/// State shared by all tasks of the data plane.
pub(crate) struct Plane {
    pub(crate) limits: DataLimits,
    pub(crate) counters: DataCounters,
    pub(crate) connections: Connections,
    pub(crate) upload: RateLimit,
    pub(crate) download: RateLimit,
    /// A limit per provider.
    pub(crate) download_each: PeerRateLimits,
    pub(crate) blamed: Blamed,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    book: AddressBook,
    me: NodeId,
    services: RwLock<BTreeMap<Vec<u8>, Service>>,
    /// Taken on shutdown: the sockets close with the last clone.
    endpoint: Mutex<Option<Endpoint>>,
    places: Arc<Semaphore>,
    /// Permits to read far ahead of a connection.
    ahead: Arc<Semaphore>,
}

/// The data plane. Clones share it. When the last clone is dropped, it stops at once, without closing connections
/// cleanly.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use net::data::{DataConfig, DataPlane};
///
/// let plane = DataPlane::start(DataConfig::new([1; 32])).await.unwrap();
/// assert!(plane.addresses().ports().v4.is_some(), "bound to a free port");
/// plane.shutdown().await;
/// # });
/// ```
#[derive(Clone)]
pub struct DataPlane {
    plane: Arc<Plane>,
    _stop: Arc<DropGuard>,
}

impl DataPlane {
    /// Binds the sockets and starts accepting. Must be called within a tokio runtime; contacts nobody.
    pub async fn start(config: DataConfig) -> Result<Self, DataStartError> {
        let lookup = MemoryLookup::new();
        let endpoint = bind(&config, lookup.clone()).await?;
        let port = |v4| {
            let sockets = endpoint.bound_sockets();
            sockets
                .iter()
                .find(|socket| socket.is_ipv4() == v4)
                .map(SocketAddr::port)
        };
        let ports = DataPorts {
            v4: port(true),
            v6: port(false),
        };
        let stop = CancellationToken::new();
        let plane = Arc::new(Plane {
            limits: config.limits,
            counters: DataCounters::default(),
            connections: Connections::default(),
            upload: RateLimit::new(config.upload_per_s),
            download: RateLimit::new(config.download_per_s),
            download_each: PeerRateLimits::new(config.limits.download_per_provider_per_s),
            blamed: Blamed::default(),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
            book: AddressBook::new(lookup, ports),
            me: addresses::node_id(endpoint.id()),
            services: RwLock::default(),
            endpoint: Mutex::new(Some(endpoint.clone())),
            places: Arc::new(Semaphore::new(config.limits.connections_max)),
            ahead: Arc::new(Semaphore::new(AHEAD_MAX)),
        });
        plane.tasks.spawn(listen(plane.clone(), endpoint));
        plane.tasks.spawn(sweep(plane.clone()));
        Ok(Self {
            plane,
            _stop: Arc::new(stop.drop_guard()),
        })
    }

    /// Returns this node's id, the same as on the control plane.
    pub fn id(&self) -> NodeId {
        self.plane.me
    }

    /// Returns the address book; pass it to [`crate::NetConfig::data`], so that the control plane fills it.
    pub fn addresses(&self) -> AddressBook {
        self.plane.book.clone()
    }

    /// Serves a store on a protocol, replacing the previous service on it.
    pub fn serve(&self, alpn: Alpn, share: Share) {
        let peers = Arc::new(ServicePeers::new(self.plane.limits.streams_per_peer_max));
        self.plane.offer(alpn, Service::Blobs(share, peers));
    }

    /// Accepts byte streams on a protocol, replacing the previous service on it.
    pub fn accept(&self, alpn: Alpn, handler: Arc<dyn StreamHandler>) {
        let peers = Arc::new(ServicePeers::new(self.plane.limits.streams_per_peer_max));
        self.plane.offer(alpn, Service::Streams(handler, peers));
    }

    /// Stops a service and closes its connections.
    pub fn withdraw(&self, alpn: &Alpn) {
        let mut services = self.plane.services.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = services.remove(&alpn.0) {
            service.peers().revoke_all();
        }
        self.plane.announce_protocols(&services);
    }

    /// Closes one peer's connections to one service, with all transfers on them. The service's [`super::Admission`]
    /// must refuse the peer before this is called, or it can reconnect.
    pub fn revoke(&self, alpn: &Alpn, node: NodeId) {
        if let Some(service) = self.plane.service(&alpn.0)
            && service.peers().revoke(node)
        {
            self.plane.counters.connections_revoked.one();
        }
    }

    /// Closes all connections with a peer, in both directions, as for a ban.
    pub fn disconnect(&self, node: NodeId) {
        let services = self.plane.services.read().unwrap_or_else(PoisonError::into_inner);
        for service in services.values() {
            service.peers().revoke(node);
        }
        self.plane.connections.disconnect(node);
    }

    /// Fetches a blob or a sequence into `store` from many providers at once. The fetch runs until it is done or
    /// dropped.
    ///
    /// The result is not protected from the store's garbage collection: hold the root before starting.
    pub fn fetch(&self, store: &Store, wanted: Wanted) -> Fetch {
        Fetch::start(self.plane.clone(), store.clone(), wanted)
    }

    /// Opens a byte stream to a peer that accepts them on `alpn`.
    pub async fn open(&self, node: NodeId, alpn: &Alpn) -> Result<ByteStream, OpenError> {
        stream::open(&self.plane, node, alpn).await
    }

    /// Returns the network path to a peer that this node has connected to.
    pub fn path(&self, node: NodeId) -> Option<DataPath> {
        self.plane.connections.path(node)
    }

    /// Returns the peers that sent false data. They are not asked again while the plane runs.
    pub fn blamed(&self) -> Vec<NodeId> {
        self.plane.blamed.list()
    }

    /// Returns the counters.
    pub fn metrics(&self) -> DataMetrics {
        self.plane.counters.read()
    }

    /// Ends all transfers and connections, and waits until the sockets are closed. Stores stay open.
    pub async fn shutdown(&self) {
        self.plane.stop.cancel();
        self.plane.connections.clear();
        self.plane.tasks.close();
        self.plane.tasks.wait().await;
        let endpoint = self
            .plane
            .endpoint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(endpoint) = endpoint {
            endpoint.close().await;
        }
    }
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataPlane({:#})", self.plane.me)
    }
}

impl Plane {
    fn offer(&self, alpn: Alpn, service: Service) {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = services.insert(alpn.0, service) {
            before.peers().revoke_all();
        }
        self.announce_protocols(&services);
    }

    fn announce_protocols(&self, services: &BTreeMap<Vec<u8>, Service>) {
        if let Some(endpoint) = self.endpoint() {
            endpoint.set_alpns(services.keys().cloned().collect());
        }
    }

    fn service(&self, alpn: &[u8]) -> Option<Service> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(alpn).cloned()
    }

    fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a permit to read far ahead, if one is free. A slow reader then costs others speed, not memory.
    pub(crate) fn ahead(&self) -> Option<OwnedSemaphorePermit> {
        self.ahead.clone().try_acquire_owned().ok()
    }

    /// Returns a connection to a peer: the existing one, or a new one.
    pub(crate) async fn connect(&self, node: NodeId, alpn: &Alpn) -> Result<Lease, OpenError> {
        if node == self.me {
            return Err(OpenError::Itself);
        }
        let id = endpoint_id(node).ok_or(OpenError::NoKey { node })?;
        let endpoint = self.endpoint().ok_or(OpenError::Down)?;
        tokio::select! {
            () = self.stop.cancelled() => Err(OpenError::Down),
            lease = self.connections.get(&endpoint, node, id, alpn, self.limits.connect_within) => lease,
        }
    }
}

async fn bind(config: &DataConfig, lookup: MemoryLookup) -> Result<Endpoint, DataStartError> {
    // The windows keep their defaults: with a stream window of 3 MiB or more, noq-proto 1.4.0 loses connections (see
    // quinn-rs/quinn#2809).
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(0u32.into())
        .build();
    let relay = match &config.relay {
        None => RelayMode::Disabled,
        Some(text) => {
            let url = text.parse().map_err(|_| DataStartError::Relay { text: text.clone() })?;
            RelayMode::custom([url])
        }
    };
    // `Minimal` sets only the TLS provider: no relay, no DNS, no directory.
    let mut builder = Endpoint::builder(presets::Minimal)
        .relay_mode(relay)
        .secret_key(iroh::SecretKey::from_bytes(&config.seed.0))
        .transport_config(transport)
        .address_lookup(lookup)
        .clear_ip_transports();
    for address in &config.bind {
        builder = builder.bind_addr(*address).map_err(|error| DataStartError::Listen {
            address: address.to_string(),
            why: error.to_string(),
        })?;
    }
    if config.mdns {
        builder = builder.address_lookup(MdnsAddressLookup::builder());
    }
    builder.bind().await.map_err(|error| DataStartError::Listen {
        address: format!("{:?}", config.bind),
        why: format!("{error:#}"),
    })
}

async fn listen(plane: Arc<Plane>, endpoint: Endpoint) {
    loop {
        let incoming = tokio::select! {
            () = plane.stop.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let Ok(place) = plane.places.clone().try_acquire_owned() else {
            plane.counters.connections_refused.one();
            incoming.refuse();
            continue;
        };
        let answering = plane.clone();
        plane.tasks.spawn(async move {
            let _place = place;
            let stop = answering.stop.clone();
            tokio::select! {
                () = stop.cancelled() => (),
                () = answer(&answering, incoming) => (),
            }
        });
    }
}

async fn answer(plane: &Arc<Plane>, incoming: Incoming) {
    let Ok(accepting) = incoming.accept() else { return };
    let Ok(Ok(connection)) = tokio::time::timeout(plane.limits.connect_within, accepting).await else {
        return;
    };
    match plane.service(connection.alpn()) {
        Some(Service::Blobs(share, peers)) => serve::blobs(plane, connection, &share, &peers).await,
        Some(Service::Streams(handler, peers)) => stream::serve(plane, connection, &*handler, &peers).await,
        None => {
            plane.counters.connections_refused.one();
            connection.close(REFUSED, b"nothing is served here");
        }
    }
}

async fn sweep(plane: Arc<Plane>) {
    let mut tick = tokio::time::interval(plane.limits.idle / 4);
    loop {
        tokio::select! {
            () = plane.stop.cancelled() => break,
            _ = tick.tick() => plane.connections.sweep(plane.limits.idle),
        }
    }
}
