//! The handle through which the node uses the network.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use libp2p::Multiaddr;
use protocol::{
    BlobHash, NodeId,
    crypto::Signed,
    message::announce::{Announcement, Claim},
};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    GossipId, Limits, Metrics, Offence, PeerInfo, RequestId, Topic, Verdict,
    announce::Found,
    behaviour::GOSSIP_BYTES_MAX,
    direct::{Queue, SendError},
    metrics::Counters,
};

/// Error of publishing a gossip message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    #[error(
        "{bytes} bytes are too many to gossip, the limit is {GOSSIP_BYTES_MAX}; gossip the hash and serve the rest on request"
    )]
    Oversize { bytes: usize },
    /// The command queue is full.
    #[error("the network is busy; try again")]
    Busy,
    #[error("the network is shut down")]
    Down,
}

/// Error of a request. There is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("node {to:#} is not connected")]
    NotConnected { to: NodeId },
    #[error("a request of {bytes} bytes, the limit is {limit}")]
    Oversize { bytes: usize, limit: usize },
    #[error("node {to:#} did not reply in time")]
    Timeout { to: NodeId },
    /// The peer refused the request, disconnected, or sent a longer reply than allowed.
    #[error("node {to:#} did not reply: {why}")]
    Failed { to: NodeId, why: String },
    /// Shut down, or too busy to send requests.
    #[error("the network accepts no requests now")]
    Down,
}

#[derive(Debug)]
pub(crate) enum Command {
    Gossip(Topic, Vec<u8>),
    Verdict(GossipId, Verdict),
    Request(NodeId, Vec<u8>, oneshot::Sender<Result<Vec<u8>, RequestError>>),
    Respond(RequestId, Vec<u8>),
    Announce(Box<Announcement>),
    Provide(Signed<Claim>),
    Withdraw(BlobHash),
    Search(BlobHash, Found),
    Report(NodeId, Offence),
    Ban(NodeId),
    Dial(Multiaddr),
}

/// A connected peer on our chain.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) info: PeerInfo,
    pub(crate) queue: Queue,
}

#[derive(Debug, Default)]
pub(crate) struct Links(RwLock<BTreeMap<NodeId, Link>>);

impl Links {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, Link>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<NodeId, Link>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle to the running network. Clones share it.
///
/// Only [`NetHandle::request`], [`NetHandle::providers`] and [`NetHandle::shutdown`] wait. The other methods act or queue at
/// once; failures are returned, or counted in [`Metrics`] if they occur later.
#[derive(Clone, Debug)]
pub struct NetHandle {
    pub(crate) me: NodeId,
    pub(crate) limits: Limits,
    pub(crate) announcements: broadcast::Sender<Announcement>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) links: Arc<Links>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl NetHandle {
    /// Returns this node's id.
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// Publishes a gossip message. Identical bytes are not published again within ten seconds.
    pub fn gossip(&self, topic: Topic, bytes: Vec<u8>) -> Result<(), GossipError> {
        if bytes.len() > GOSSIP_BYTES_MAX {
            return Err(GossipError::Oversize { bytes: bytes.len() });
        }
        self.commands
            .try_send(Command::Gossip(topic, bytes))
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => GossipError::Busy,
                mpsc::error::TrySendError::Closed(_) => GossipError::Down,
            })
    }

    /// Decides about a gossip message. Each message needs exactly one verdict; without it, it is not forwarded.
    pub fn verdict(&self, id: GossipId, verdict: Verdict) {
        self.command(Command::Verdict(id, verdict));
    }

    /// Queues a direct message to one peer. Never waits; a full queue is an error.
    pub fn send(&self, to: NodeId, bytes: Vec<u8>) -> Result<(), SendError> {
        let limit = self.limits.message_bytes_max;
        if bytes.len() > limit {
            return Err(SendError::Oversize {
                bytes: bytes.len(),
                limit,
            });
        }
        let links = self.links.read();
        let sent = links
            .get(&to)
            .ok_or(SendError::NotConnected { to })
            .and_then(|link| link.queue.push(to, bytes));
        if sent.is_err() {
            self.counters.direct_dropped.one();
        }
        sent
    }

    /// Sends a request to a peer and waits for its reply.
    pub async fn request(&self, to: NodeId, bytes: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let limit = self.limits.message_bytes_max;
        if bytes.len() > limit {
            return Err(RequestError::Oversize {
                bytes: bytes.len(),
                limit,
            });
        }
        let (sender, answer) = oneshot::channel();
        self.commands
            .send(Command::Request(to, bytes, sender))
            .await
            .map_err(|_| RequestError::Down)?;
        answer.await.unwrap_or(Err(RequestError::Down))
    }

    /// Sends the reply to a request.
    pub fn respond(&self, id: RequestId, bytes: Vec<u8>) {
        if bytes.len() > self.limits.response_bytes_max {
            // The peer would refuse it. Dropping the request tells it sooner.
            self.counters.oversize.one();
            return;
        }
        self.command(Command::Respond(id, bytes));
    }

    /// Gossips an announcement about this node. It is not checked here; an invalid one costs offence points at the
    /// peers.
    pub fn announce(&self, said: Announcement) {
        self.command(Command::Announce(Box::new(said)));
    }

    /// Subscribes to other nodes' announcements. Each is signed by its author, valid now, and newer than the last one
    /// on its subject. A slow subscriber misses the oldest ones, and is told how many.
    pub fn announcements(&self) -> broadcast::Receiver<Announcement> {
        self.announcements.subscribe()
    }

    /// Registers this node as a provider in the directory, and shows `claim` to peers that ask. A newer claim for the
    /// same root replaces it. The directory entry is renewed automatically.
    pub fn provide(&self, claim: Signed<Claim>) {
        self.command(Command::Provide(claim));
    }

    /// Stops providing a root. The directory forgets it within a day; peers that ask before are told that it is not
    /// here.
    pub fn withdraw(&self, root: BlobHash) {
        self.command(Command::Withdraw(root));
    }

    /// Searches the directory for providers and returns their claims, each signed by its provider and valid now. Takes
    /// at most ten seconds.
    pub async fn providers(&self, root: BlobHash) -> Vec<Signed<Claim>> {
        let (sender, found) = oneshot::channel();
        self.command(Command::Search(root, sender));
        found.await.unwrap_or_default()
    }

    /// Reports an offence of a peer.
    pub fn report(&self, node: NodeId, offence: Offence) {
        self.command(Command::Report(node, offence));
    }

    /// Disconnects a peer and bans it for [`Limits::ban`].
    pub fn ban(&self, node: NodeId) {
        self.command(Command::Ban(node));
    }

    /// Dials an address such as `/ip4/10.0.0.7/tcp/4001`, and redials it until shutdown. Fails if the address is
    /// malformed.
    pub fn dial(&self, address: &str) -> Result<(), crate::StartError> {
        self.command(Command::Dial(crate::settings::parse_address(address)?));
        Ok(())
    }

    /// Returns the connected peers on our chain.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.links.read().values().map(|link| link.info.clone()).collect()
    }

    /// Returns the counters.
    pub fn metrics(&self) -> Metrics {
        self.counters.read()
    }

    /// Closes all connections and waits until every task has ended.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn command(&self, command: Command) {
        if let Err(refused) = self.commands.try_send(command) {
            tracing::warn!(command = ?std::mem::discriminant(&refused.into_inner()), "the network is behind, a command was dropped");
        }
    }
}
