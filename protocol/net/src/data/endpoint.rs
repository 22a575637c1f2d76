//! The endpoint: from settings to sockets, the loop that takes calls, and the end of both.

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
    AddressBook, Alpn, ByteStream, DataConfig, DataLimits, DataMetrics, DataPath, DataPorts, Fetch, Meter, OpenError,
    Share, StreamHandler, Wanted,
    addresses::{self, endpoint_id},
    links::{Lease, Links},
    meter::Meters,
    serve::{self, Members},
    settings::DataCounters,
    stream,
    swarm::Blamed,
};

/// Requests that one peer may have open on one connection; the limit for all its connections is in [`DataLimits`].
const STREAMS_MAX: u32 = 128;
/// Responses that are read far ahead of their connections at once, each by some 4 MiB; more are read as they go out.
const AHEAD_MAX: usize = 32;
/// A connection was turned away.
pub(crate) const REFUSED: VarInt = VarInt::from_u32(1);

/// Why the data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum DataStartError {
    /// A UDP socket could not be had.
    #[error("could not listen for data on {address}: {why}; is the port taken, or the address not of this machine?")]
    Listen {
        /// Where, or all of the addresses.
        address: String,
        /// What the system said.
        why: String,
    },
    /// Not the address of a relay.
    #[error("`{text}` is not the address of a relay; write one such as https://relay.example")]
    Relay {
        /// What was given.
        text: String,
    },
}

/// What answers on a protocol.
#[derive(Clone)]
pub(crate) enum Service {
    Blobs(Share, Arc<Members>),
    Streams(Arc<dyn StreamHandler>, Arc<Members>),
}

impl Service {
    fn members(&self) -> &Members {
        match self {
            Self::Blobs(_, members) | Self::Streams(_, members) => members,
        }
    }
}

/// What every task of the plane shares.
pub(crate) struct Plane {
    pub(crate) limits: DataLimits,
    pub(crate) counters: DataCounters,
    pub(crate) links: Links,
    pub(crate) upload: Meter,
    pub(crate) download: Meter,
    /// From each provider.
    pub(crate) download_each: Meters,
    pub(crate) blamed: Blamed,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    book: AddressBook,
    me: NodeId,
    services: RwLock<BTreeMap<Vec<u8>, Service>>,
    /// Taken on shutdown: the sockets close with the last clone.
    endpoint: Mutex<Option<Endpoint>>,
    places: Arc<Semaphore>,
    /// Who may read far ahead of the connection.
    ahead: Arc<Semaphore>,
}

/// The data plane. Clones are the same plane; with the last of them it ends, at once and without farewell.
#[derive(Clone)]
pub struct DataPlane {
    plane: Arc<Plane>,
    _stop: Arc<DropGuard>,
}

impl DataPlane {
    /// Listens. Needs a tokio runtime around it, and no network.
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
            links: Links::default(),
            upload: Meter::new(config.upload_per_s),
            download: Meter::new(config.download_per_s),
            download_each: Meters::new(config.limits.download_per_provider_per_s),
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

    /// The name of this node, the same as on the control plane.
    pub fn id(&self) -> NodeId {
        self.plane.me
    }

    /// Where peers are; hand it to [`crate::NetConfig::data`] so that the control plane fills it.
    pub fn addresses(&self) -> AddressBook {
        self.plane.book.clone()
    }

    /// Serves a store on a protocol from now on, in place of what was served there.
    pub fn serve(&self, alpn: Alpn, share: Share) {
        let members = Arc::new(Members::new(self.plane.limits.streams_per_peer_max));
        self.plane.offer(alpn, Service::Blobs(share, members));
    }

    /// Takes byte streams on a protocol from now on.
    pub fn accept(&self, alpn: Alpn, handler: Arc<dyn StreamHandler>) {
        let members = Arc::new(Members::new(self.plane.limits.streams_per_peer_max));
        self.plane.offer(alpn, Service::Streams(handler, members));
    }

    /// Ends a service and closes its connections.
    pub fn withdraw(&self, alpn: &Alpn) {
        let mut services = self.plane.services.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = services.remove(&alpn.0) {
            service.members().revoke_all();
        }
        self.plane.announce_protocols(&services);
    }

    /// Closes the connections of one peer to one service now, with whatever flows on them. Who may not come back must
    /// be refused by the service's [`super::Admission`] before this is called.
    pub fn revoke(&self, alpn: &Alpn, node: NodeId) {
        if let Some(service) = self.plane.service(&alpn.0)
            && service.members().revoke(node)
        {
            self.plane.counters.connections_revoked.one();
        }
    }

    /// Closes every connection with a peer, in both directions, as when it is banned.
    pub fn hang_up(&self, node: NodeId) {
        let services = self.plane.services.read().unwrap_or_else(PoisonError::into_inner);
        for service in services.values() {
            service.members().revoke(node);
        }
        self.plane.links.hang_up(node);
    }

    /// Fetches a blob or a sequence into `store`, from many providers at once. It runs until done or dropped.
    ///
    /// What was fetched is not protected from the store's collection: hold a tag on the root from before the start.
    pub fn fetch(&self, store: &Store, wanted: Wanted) -> Fetch {
        Fetch::start(self.plane.clone(), store.clone(), wanted)
    }

    /// Opens a byte stream to a peer that takes them on `alpn`.
    pub async fn open(&self, node: NodeId, alpn: &Alpn) -> Result<ByteStream, OpenError> {
        stream::open(&self.plane, node, alpn).await
    }

    /// How data flows to a peer that we have called; `None` while we have not.
    pub fn path(&self, node: NodeId) -> Option<DataPath> {
        self.plane.links.path(node)
    }

    /// Whom a fetch has caught lying, never to be asked again while this runs.
    pub fn blamed(&self) -> Vec<NodeId> {
        self.plane.blamed.list()
    }

    /// What was counted so far.
    pub fn metrics(&self) -> DataMetrics {
        self.plane.counters.read()
    }

    /// Ends every transfer and connection, and returns when the sockets are closed. Stores stay open.
    pub async fn shutdown(&self) {
        self.plane.stop.cancel();
        self.plane.links.clear();
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
            before.members().revoke_all();
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

    /// Leave to read far ahead, as long as it is held; who reads slowly costs others speed and not memory.
    pub(crate) fn ahead(&self) -> Option<OwnedSemaphorePermit> {
        self.ahead.clone().try_acquire_owned().ok()
    }

    /// A connection to a peer, the one there is or a new one.
    pub(crate) async fn connect(&self, node: NodeId, alpn: &Alpn) -> Result<Lease, OpenError> {
        if node == self.me {
            return Err(OpenError::Itself);
        }
        let id = endpoint_id(node).ok_or(OpenError::NoKey { node })?;
        let endpoint = self.endpoint().ok_or(OpenError::Down)?;
        tokio::select! {
            () = self.stop.cancelled() => Err(OpenError::Down),
            lease = self.links.get(&endpoint, node, id, alpn, self.limits.connect_within) => lease,
        }
    }
}

async fn bind(config: &DataConfig, lookup: MemoryLookup) -> Result<Endpoint, DataStartError> {
    // The windows stay as they are: a stream window of 3 MiB and more loses connections in this QUIC implementation.
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
    // `Minimal` names ring as the provider of TLS, and nothing else: no relay, no DNS, no directory.
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
        Some(Service::Blobs(share, members)) => serve::blobs(plane, connection, &share, &members).await,
        Some(Service::Streams(handler, members)) => stream::serve(plane, connection, &*handler, &members).await,
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
            _ = tick.tick() => plane.links.sweep(plane.limits.idle),
        }
    }
}
