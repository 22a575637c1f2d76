//! The identity of this node towards its peers: ID, key, clock, events, and the network while the node runs.
//!
//! The other parts send requests, serve them and spawn their tasks through [`Peer`]. It knows nothing of datasets.

use std::{sync::Arc, time::Duration};

use bincode::{Decode, Encode};
use net::{
    NetHandle,
    data::{Alpn, DataPlane, Share},
};
use protocol::{
    Authored, NodeId, Time,
    crypto::{Domain, Preimage, SecretKey, Signed},
    event::Event,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::requests::{self, RequestError, RequestHandler};
use base::{clock::Clock, events::Events};

/// Wait after a new peer connects before announcing again: more peers usually follow.
const SETTLE: Duration = Duration::from_secs(2);

/// The error of a request that needs peers, made to a home whose node does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this needs a running node; start it with `openledger daemon`")]
pub struct Offline;

/// This node's identity and network. Clones share it.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    me: NodeId,
    key: SecretKey,
    /// `None` if the home has no chain to sign for.
    domain: Option<Domain>,
    clock: Clock,
    events: Events,
    network: Option<Network>,
}

pub(crate) struct Network {
    pub(crate) plane: DataPlane,
    pub(crate) net: NetHandle,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Peer {
    /// Makes a peer without a network. Without a `domain` it cannot sign.
    pub fn offline(key: SecretKey, domain: Option<Domain>) -> Self {
        Self(Arc::new(Inner {
            me: NodeId(key.public()),
            key,
            domain,
            clock: Clock::new(),
            events: Events::default(),
            network: None,
        }))
    }

    /// Makes a peer with a network, which runs until [`Peer::stop`].
    pub(crate) fn online(
        key: SecretKey,
        domain: Domain,
        clock: Clock,
        events: Events,
        plane: DataPlane,
        net: NetHandle,
    ) -> Self {
        Self(Arc::new(Inner {
            me: net.id(),
            key,
            domain: Some(domain),
            clock,
            events,
            network: Some(Network {
                plane,
                net,
                stop: CancellationToken::new(),
                tasks: TaskTracker::new(),
            }),
        }))
    }

    /// Stops every task and every transfer, and waits for them.
    pub(crate) async fn stop(&self) {
        let Some(network) = &self.0.network else { return };
        network.stop.cancel();
        network.plane.shutdown().await;
        network.tasks.close();
        network.tasks.wait().await;
    }

    /// Returns the node ID.
    pub fn id(&self) -> NodeId {
        self.0.me
    }

    /// Publishes an event of this node to logs, metrics and subscribers.
    pub fn tell(&self, event: Event) {
        self.0.events.tell(event);
    }

    /// Returns the time of this node's clock.
    pub fn now(&self) -> Time {
        self.0.clock.now()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.0.clock
    }

    pub(crate) fn key(&self) -> &SecretKey {
        &self.0.key
    }

    /// Returns the domain that signatures are bound to: chain ID and genesis.
    pub(crate) fn domain(&self) -> Option<Domain> {
        self.0.domain
    }

    /// Signs a message with this node's key. Panics if there is no chain to sign for.
    pub fn sign<T: Preimage>(&self, message: T) -> Signed<T> {
        let domain = self.0.domain.expect("only a node of a chain has something to sign");
        Signed::new(message, &self.0.key, &domain)
    }

    /// Returns true if the signature is valid and made for this node's chain.
    pub(crate) fn is_authentic<T: Authored>(&self, said: &Signed<T>) -> bool {
        self.0.domain.is_some_and(|domain| said.is_authentic(&domain))
    }

    /// Returns the libp2p network; `None` while the node does not run.
    pub fn net(&self) -> Option<&NetHandle> {
        self.0.network.as_ref().map(|network| &network.net)
    }

    pub(crate) fn network(&self) -> Result<&Network, Offline> {
        self.0.network.as_ref().ok_or(Offline)
    }

    /// Returns the counters of the data plane; `None` while the node does not run.
    pub fn transfers(&self) -> Option<net::data::DataMetrics> {
        self.0.network.as_ref().map(|network| network.plane.metrics())
    }

    /// Lists the connected peers, without this node.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        let peers = self.net().map(NetHandle::peers).unwrap_or_default();
        let ids = peers.into_iter().map(|peer| peer.id);
        ids.filter(|id| *id != self.0.me).collect()
    }

    /// Spawns a task that is dropped when the node stops.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn_until_stopped(|stop| async move {
            tokio::select! {
                () = stop.cancelled() => (),
                () = work => (),
            }
        });
    }

    /// Spawns a task that must end when its token is cancelled; the node waits for it.
    pub fn spawn_until_stopped<F: Future<Output = ()> + Send + 'static>(
        &self,
        work: impl FnOnce(CancellationToken) -> F,
    ) {
        let Some(network) = &self.0.network else { return };
        network.tasks.spawn(work(network.stop.clone()));
    }

    /// Calls `tell` every `again`, and soon after a new peer connects, until the node stops.
    pub async fn repeat_announcing<F: Future<Output = ()> + Send>(
        self,
        again: Duration,
        stop: CancellationToken,
        tell: impl Fn() -> F + Send,
    ) {
        let Some(net) = self.net() else { return };
        let (mut known, mut told) = (0, tokio::time::Instant::now());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SETTLE) => (),
            }
            let peers = net.peers().len();
            if peers > known || told.elapsed() >= again {
                tell().await;
                told = tokio::time::Instant::now();
            }
            known = peers;
        }
    }

    /// Sends a request to another node and waits for its reply of at most `reply_max` bytes.
    pub(crate) async fn request<Q: Encode, A: Decode<()>>(
        &self,
        node: NodeId,
        kind: &str,
        request: &Q,
        reply_max: usize,
    ) -> Result<Result<A, RequestError>, Offline> {
        let plane = &self.network()?.plane;
        Ok(requests::send(plane, node, kind, request, reply_max).await)
    }

    /// Handles requests of one kind while the node runs.
    pub(crate) fn handle<Q, A>(&self, handler: RequestHandler<Q, A>)
    where
        Q: Decode<()> + Send + 'static,
        A: Encode + Send + Sync + 'static,
    {
        let Some(network) = &self.0.network else { return };
        network.plane.accept(Alpn::stream(handler.kind), Arc::new(handler));
    }

    /// Serves the blobs of a store while the node runs.
    pub(crate) fn serve(&self, alpn: Alpn, share: Share) {
        if let Some(network) = &self.0.network {
            network.plane.serve(alpn, share);
        }
    }
}
