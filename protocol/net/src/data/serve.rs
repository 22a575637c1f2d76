//! Serving blobs to admitted peers.
//!
//! The peer's id is known from the handshake of its connection and checked at every request, so a connection carries no
//! rights of its own, and no table from connection numbers to peers can be out of date. A request is read and decided here
//! before the blob protocol sees it. Pushes are always refused. A hash sequence releases its children, so its root must be
//! admitted *as a sequence*: otherwise a stranger could request a sequence that it composed itself.
//!
//! # Why not iroh-blobs' own event hooks
//!
//! Its request events carry a connection number and not the peer's id, connection numbers are reused, and `GetMany` bypasses
//! the check of single hashes. Reading the request here avoids all three.

mod metered_stream;
mod send_blob;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use iroh::endpoint::{Connection, RecvStream, SendStream};
use iroh_blobs::{
    api::Store,
    protocol::{ChunkRanges, ERR_PERMISSION, GetRequest, Request},
    provider::{self, StreamPair, events::EventSender},
};
use protocol::{BlobHash, NodeId};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    addresses::node_id,
    endpoint::{Plane, REFUSED},
};
use metered_stream::MeteredStream;

/// An access rule. It is asked at every connection and every request, so changes take effect at once. Must not block.
pub trait Admission: Send + Sync + 'static {
    /// Returns true if the node may connect.
    fn may_connect(&self, node: NodeId) -> bool;
    /// Returns true if the node may fetch this. That the store has the bytes is no reason: allow what was published
    /// here.
    fn may_fetch(&self, node: NodeId, request: BlobRequest) -> bool;
}

/// The content that a peer requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobRequest {
    /// One blob, in whole or in part, or the ranges of it that are stored.
    Blob(BlobHash),
    /// A hash sequence with every blob it lists.
    Sequence(BlobHash),
}

/// A store with its access rule.
#[derive(Clone)]
pub struct Share {
    pub store: Store,
    pub admission: Arc<dyn Admission>,
}

/// The peers connected to one service.
pub(crate) struct ServicePeers {
    streams_max: usize,
    present: Mutex<BTreeMap<NodeId, ServicePeer>>,
}

struct ServicePeer {
    connections: usize,
    streams: Arc<Semaphore>,
    cut: CancellationToken,
}

/// One connection of a peer, while it lasts.
pub(crate) struct PeerConnection<'a> {
    peers: &'a ServicePeers,
    node: NodeId,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) cut: CancellationToken,
}

impl ServicePeers {
    pub(crate) fn new(streams_max: usize) -> Self {
        Self {
            streams_max,
            present: Mutex::default(),
        }
    }

    /// Registers a connection; returns `None` if the peer has too many.
    pub(crate) fn enter(&self, node: NodeId, connections_max: usize) -> Option<PeerConnection<'_>> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = present.entry(node).or_insert_with(|| ServicePeer {
            connections: 0,
            streams: Arc::new(Semaphore::new(self.streams_max)),
            cut: CancellationToken::new(),
        });
        if peer.connections >= connections_max {
            return None;
        }
        peer.connections += 1;
        Some(PeerConnection {
            peers: self,
            node,
            streams: peer.streams.clone(),
            cut: peer.cut.clone(),
        })
    }

    /// Closes the connections of one peer. Returns true if it had any.
    pub(crate) fn revoke(&self, node: NodeId) -> bool {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = present.get_mut(&node);
        peer.map(ServicePeer::cut).is_some()
    }

    pub(crate) fn revoke_all(&self) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.values_mut().for_each(ServicePeer::cut);
    }
}

impl ServicePeer {
    fn cut(&mut self) {
        std::mem::take(&mut self.cut).cancel();
    }
}

impl Drop for PeerConnection<'_> {
    fn drop(&mut self) {
        let mut present = self.peers.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = present.get_mut(&self.node) {
            peer.connections -= 1;
            if peer.connections == 0 {
                present.remove(&self.node);
            }
        }
    }
}

/// Serves one connection until it ends or its peer is revoked.
pub(crate) async fn blobs(plane: &Arc<Plane>, connection: Connection, share: &Share, peers: &ServicePeers) {
    let number = connection.stable_id();
    let admit = |node| share.admission.may_connect(node);
    let transfers = take_streams(plane, &connection, peers, admit, |node, send, recv| {
        let (plane, share) = (plane.clone(), share.clone());
        async move { transfer(&plane, node, number, &share, send, recv).await }
    });
    // Running transfers end with the connection.
    drop(transfers.await);
}

/// Accepts the streams of one connection until it ends or its peer is revoked, and spawns `answer` for each. Returns
/// the tasks that are still running then.
pub(crate) async fn take_streams<A>(
    plane: &Plane,
    connection: &Connection,
    peers: &ServicePeers,
    admit: impl FnOnce(NodeId) -> bool,
    answer: impl Fn(NodeId, SendStream, RecvStream) -> A,
) -> JoinSet<()>
where
    A: Future<Output = ()> + Send + 'static,
{
    let mut answers = JoinSet::new();
    let node = node_id(connection.remote_id());
    // Registered before the check, so that a revocation in between closes it.
    let connection_entry = peers.enter(node, plane.limits.connections_per_peer_max);
    let Some(connection_entry) = connection_entry.filter(|_| admit(node)) else {
        plane.counters.connections_refused.one();
        connection.close(REFUSED, b"not admitted");
        return answers;
    };
    plane.counters.connections_in.one();
    loop {
        let place = connection_entry.streams.clone().acquire_owned();
        let next = async { (place.await, connection.accept_bi().await) };
        let (place, stream) = tokio::select! {
            biased;
            () = connection_entry.cut.cancelled() => {
                connection.close(REFUSED, b"revoked");
                break;
            }
            Some(_) = answers.join_next() => continue,
            next = next => next,
        };
        let (Ok(place), Ok((send, recv))) = (place, stream) else {
            break;
        };
        let answered = answer(node, send, recv);
        answers.spawn(async move {
            let _place = place;
            answered.await;
        });
    }
    answers
}

async fn transfer(
    plane: &Arc<Plane>,
    node: NodeId,
    connection: usize,
    share: &Share,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let read = Request::read_async(&mut recv);
    let Ok(Ok((request, _))) = tokio::time::timeout(plane.limits.request_within, read).await else {
        let _ = (send.reset(ERR_PERMISSION), recv.stop(ERR_PERMISSION));
        return;
    };
    if !admits(share, node, &request, plane.limits.hashes_per_request_max) {
        plane.counters.requests_refused.one();
        let _ = (send.reset(ERR_PERMISSION), recv.stop(ERR_PERMISSION));
        return;
    }
    plane.counters.requests_served.one();
    let out = MeteredStream::new(send, plane.clone());
    let store = share.store.clone();
    let request = match request {
        Request::Get(get) if get.ranges.is_blob() => {
            // If the peer went away, there is nobody to report an error to.
            let _ = send_blob::send(&store, get.hash, root_ranges(&get), out).await;
            return;
        }
        request => request,
    };
    // The default event sender reports nothing and refuses pushes: everything was checked above.
    let pair = StreamPair::new(connection as u64, recv, out, EventSender::DEFAULT);
    // An error is the caller's; the stream tells it.
    let _ = match request {
        Request::Get(request) => provider::handle_get(pair, store, request).await,
        Request::GetMany(request) => provider::handle_get_many(pair, store, request).await,
        Request::Observe(request) => provider::handle_observe(pair, store, request).await,
        _ => Ok(()),
    };
}

/// Returns the ranges of the root that a request asks for.
fn root_ranges(get: &GetRequest) -> ChunkRanges {
    let mut ranges = get.ranges.iter_non_empty_infinite();
    let root = ranges.next().filter(|(child, _)| *child == 0);
    root.map_or_else(ChunkRanges::empty, |(_, ranges)| ranges.clone())
}

fn admits(share: &Share, node: NodeId, request: &Request, hashes_max: usize) -> bool {
    let may = |ask| share.admission.may_fetch(node, ask);
    let blob = |hash: &iroh_blobs::Hash| may(BlobRequest::Blob(BlobHash(*hash.as_bytes())));
    match request {
        Request::Get(get) if get.ranges.is_blob() => blob(&get.hash),
        Request::Get(get) => may(BlobRequest::Sequence(BlobHash(*get.hash.as_bytes()))),
        Request::GetMany(many) => many.hashes.len() <= hashes_max && many.hashes.iter().all(blob),
        Request::Observe(observe) => blob(&observe.hash),
        _ => false,
    }
}
