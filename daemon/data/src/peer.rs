//! Who this node is among its peers: its name and key, the clock, and, while it runs, the network.
//!
//! Every room speaks and begins its tasks through this. Leaves out what is shared and what is said.

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

use crate::talk::{self, Desk, TalkError};
use base::{clock::Clock, events::Events};

/// How long after a new peer it is told what there is to tell: others may come with it.
const SETTLE: Duration = Duration::from_secs(2);

/// What needs peers was asked of a home whose node does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that needs a running node; start it with `openledger daemon`")]
pub struct Offline;

/// This node among its peers. Clones are the same.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    me: NodeId,
    key: SecretKey,
    /// None where there is no chain to sign for.
    domain: Option<Domain>,
    clock: Clock,
    events: Events,
    network: Option<Network>,
}

/// What is there while the node runs.
pub(crate) struct Network {
    pub(crate) plane: DataPlane,
    pub(crate) net: NetHandle,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Peer {
    /// A node that does not run. Without a chain's `domain` it signs nothing.
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

    /// A node that runs, until [`Peer::stop`].
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

    /// Ends every task and every transfer.
    pub(crate) async fn stop(&self) {
        let Some(network) = &self.0.network else { return };
        network.stop.cancel();
        network.plane.shutdown().await;
        network.tasks.close();
        network.tasks.wait().await;
    }

    /// The node's name.
    pub fn id(&self) -> NodeId {
        self.0.me
    }

    /// Tells a fact of this node.
    pub fn tell(&self, event: Event) {
        self.0.events.tell(event);
    }

    /// The time by this node's clock.
    pub fn now(&self) -> Time {
        self.0.clock.now()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.0.clock
    }

    pub(crate) fn key(&self) -> &SecretKey {
        &self.0.key
    }

    /// The chain that signatures are for, if there is one.
    pub(crate) fn domain(&self) -> Option<Domain> {
        self.0.domain
    }

    /// Signs in this node's name. Panics where there is no chain to sign for.
    pub fn sign<T: Preimage>(&self, message: T) -> Signed<T> {
        let domain = self.0.domain.expect("only a node of a chain has something to sign");
        Signed::new(message, &self.0.key, &domain)
    }

    /// Whether a signature is for this node's chain and holds.
    pub(crate) fn is_authentic<T: Authored>(&self, said: &Signed<T>) -> bool {
        self.0.domain.is_some_and(|domain| said.is_authentic(&domain))
    }

    /// The control plane, while the node runs.
    pub fn net(&self) -> Option<&NetHandle> {
        self.0.network.as_ref().map(|network| &network.net)
    }

    pub(crate) fn network(&self) -> Result<&Network, Offline> {
        self.0.network.as_ref().ok_or(Offline)
    }

    /// What was counted on the data plane; none while the node does not run.
    pub fn transfers(&self) -> Option<net::data::DataMetrics> {
        self.0.network.as_ref().map(|network| network.plane.metrics())
    }

    /// Connected peers.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        let peers = self.net().map(NetHandle::peers).unwrap_or_default();
        let ids = peers.into_iter().map(|peer| peer.id);
        ids.filter(|id| *id != self.0.me).collect()
    }

    /// Begins something that is cut off when the node ends.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.keep(|stop| async move {
            tokio::select! {
                () = stop.cancelled() => (),
                () = work => (),
            }
        });
    }

    /// Begins something that ends by itself when the token is cancelled; the node waits for it.
    pub fn keep<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(CancellationToken) -> F) {
        let Some(network) = &self.0.network else { return };
        network.tasks.spawn(work(network.stop.clone()));
    }

    /// Tells everybody something again and again, and as soon as there is somebody new to tell. Ends with the node.
    pub async fn keep_telling<F: Future<Output = ()> + Send>(
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

    /// Asks another node one thing.
    pub(crate) async fn ask<Q: Encode, A: Decode<()>>(
        &self,
        node: NodeId,
        kind: &str,
        question: &Q,
        answer_max: usize,
    ) -> Result<Result<A, TalkError>, Offline> {
        let plane = &self.network()?.plane;
        Ok(talk::ask(plane, node, kind, question, answer_max).await)
    }

    /// Answers the questions of one kind while the node runs.
    pub(crate) fn answer<Q, A>(&self, desk: Desk<Q, A>)
    where
        Q: Decode<()> + Send + 'static,
        A: Encode + Send + Sync + 'static,
    {
        let Some(network) = &self.0.network else { return };
        network.plane.accept(Alpn::stream(desk.kind), Arc::new(desk));
    }

    /// Serves a store while the node runs.
    pub(crate) fn serve(&self, alpn: Alpn, share: Share) {
        if let Some(network) = &self.0.network {
            network.plane.serve(alpn, share);
        }
    }
}
