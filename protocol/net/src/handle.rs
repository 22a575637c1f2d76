//! What the node asks of the network.

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

/// Why something was not gossiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    /// Too large for gossip.
    #[error(
        "{bytes} bytes are too many to gossip, the limit is {GOSSIP_BYTES_MAX}; gossip the hash and serve the rest on request"
    )]
    Oversize {
        /// Its size.
        bytes: usize,
    },
    /// The network is behind with what it was asked already.
    #[error("the network is busy; try again")]
    Busy,
    /// It was shut down.
    #[error("the network is shut down")]
    Down,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a peer at the moment.
    #[error("node {to:#} is not connected")]
    NotConnected {
        /// Who was asked.
        to: NodeId,
    },
    /// Too large for a question.
    #[error("a request of {bytes} bytes, the limit is {limit}")]
    Oversize {
        /// Its size.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// No answer in time.
    #[error("node {to:#} did not answer in time")]
    Timeout {
        /// Who was asked.
        to: NodeId,
    },
    /// The peer declined, or went away, or answered with more than allowed.
    #[error("node {to:#} gave no answer: {why}")]
    Failed {
        /// Who was asked.
        to: NodeId,
        /// What happened.
        why: String,
    },
    /// The network was shut down, or is too busy to ask.
    #[error("the network takes no questions now")]
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

/// The network, to speak to. Clones are the same network.
///
/// Only [`NetHandle::request`] and [`NetHandle::shutdown`] wait. The others do or queue their part at once; what cannot
/// be done is an error, or counted in [`Metrics`] where it is found out later.
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
    /// The name of this node.
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// Says something to everybody. The same bytes again within ten seconds are not sent.
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

    /// Judges a gossiped message. Each needs exactly one verdict; without it the message goes no further.
    pub fn verdict(&self, id: GossipId, verdict: Verdict) {
        self.command(Command::Verdict(id, verdict));
    }

    /// Queues a message for one peer.
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

    /// Asks a peer and waits for its answer.
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

    /// Answers a question.
    pub fn respond(&self, id: RequestId, bytes: Vec<u8>) {
        if bytes.len() > self.limits.response_bytes_max {
            // The other side would refuse it. Not answering tells it sooner.
            self.counters.oversize.one();
            return;
        }
        self.command(Command::Respond(id, bytes));
    }

    /// Announces something about this node to everybody. It is not checked here: what others would reject costs standing.
    pub fn announce(&self, said: Announcement) {
        self.command(Command::Announce(Box::new(said)));
    }

    /// Announcements of others, from now on; each is signed by its author, holds now, and is newer than the last about
    /// its subject. Who reads too slowly misses the oldest and is told how many.
    pub fn announcements(&self) -> broadcast::Receiver<Announcement> {
        self.announcements.subscribe()
    }

    /// Enters this node in the directory as a provider, and shows `claim` to who asks. A newer claim for the same root
    /// replaces it; the directory is told again by itself.
    pub fn provide(&self, claim: Signed<Claim>) {
        self.command(Command::Provide(claim));
    }

    /// No longer provides this. The directory forgets within a day; who asks until then is told that it is not here.
    pub fn withdraw(&self, root: BlobHash) {
        self.command(Command::Withdraw(root));
    }

    /// Looks for providers in the directory and returns their claims, each signed by its provider and holding now.
    /// Takes ten seconds at most.
    pub async fn providers(&self, root: BlobHash) -> Vec<Signed<Claim>> {
        let (sender, found) = oneshot::channel();
        self.command(Command::Search(root, sender));
        found.await.unwrap_or_default()
    }

    /// Notes that a peer misbehaved.
    pub fn report(&self, node: NodeId, offence: Offence) {
        self.command(Command::Report(node, offence));
    }

    /// Disconnects a peer and keeps it away for the time of a ban.
    pub fn ban(&self, node: NodeId) {
        self.command(Command::Ban(node));
    }

    /// Reaches out to an address such as `/ip4/10.0.0.7/tcp/4001`, at once and again until this stops. An error if it is none.
    pub fn dial(&self, address: &str) -> Result<(), crate::StartError> {
        self.command(Command::Dial(crate::settings::parse_address(address)?));
        Ok(())
    }

    /// The peers on our chain that are connected now.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.links.read().values().map(|link| link.info.clone()).collect()
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        self.counters.read()
    }

    /// Closes all connections and returns when every task has ended.
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
