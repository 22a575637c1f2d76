//! The way in for transactions: from wallets, from gossip, and straight from peers when they are too long for gossip.
//!
//! One task takes what waits in batches, recovers senders in parallel away from the async threads, and submits to the
//! chain. What a wallet sent is journalled and synced before it is acknowledged. Gossip gets its verdict here. What waits
//! at the door is bounded in bytes: wallets wait for room, peers are not heard until there is some.

mod desk;
pub mod journal;

use std::sync::Arc;

use consensus::mempool::PoolError;
use evm::pool_tx::{Door, TX_BYTES_MAX, TxError};
use net::{GossipId, NetHandle, Offence, Verdict};
use protocol::{NodeId, TxHash, codec, message::chain::GOSSIP_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::actor::{Chain, Stopped};
use desk::Desk;
use journal::PoolJournal;

/// Offers that may wait, whatever their size.
const INBOX: usize = 8192;
/// Bytes that may wait, in KiB.
const ROOM_KIB: u32 = 64 << 10;
/// Transactions in one message of a peer: more than the shortest that exist would fit gossip.
const MESSAGE_MAX: usize = 512;
/// Names of accepted transactions that a slow subscriber may lag behind.
const ACCEPTED: usize = 4096;

/// Why a transaction was not taken in. The wording is what wallets look for.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// It is refused whatever the state is.
    #[error(transparent)]
    Door(#[from] TxError),
    /// The mempool refuses it.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// It waits and may be included, but would not survive a restart.
    #[error(
        "the transaction waits, but the disk of this node did not keep it ({0}); free space, and send it again if it is not included"
    )]
    Disk(String),
    /// The node is going down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Where an offer came from, and whom to tell.
enum Origin {
    Local(oneshot::Sender<Result<TxHash, IngressError>>),
    Gossip(GossipId, NodeId),
    Direct(NodeId),
}

struct Offer {
    from: Origin,
    transactions: Vec<Arc<[u8]>>,
    _room: OwnedSemaphorePermit,
}

/// The door, from outside. Clones are the same door.
#[derive(Clone)]
pub struct Ingress {
    inbox: mpsc::Sender<Offer>,
    room: Arc<Semaphore>,
    net: NetHandle,
    accepted: broadcast::Sender<TxHash>,
}

/// Everything the task owns.
pub struct Parts {
    pub chain: Chain,
    pub net: NetHandle,
    pub door: Door,
    pub journal: PoolJournal,
    pub stop: CancellationToken,
}

/// Starts the task: first it offers again what the journal kept, then it takes what comes. It ends with `stop`.
pub fn spawn(parts: Parts) -> (Ingress, tokio::task::JoinHandle<()>) {
    let (sender, inbox) = mpsc::channel(INBOX);
    let accepted = broadcast::channel(ACCEPTED).0;
    let ingress = Ingress {
        inbox: sender,
        room: Arc::new(Semaphore::new(ROOM_KIB as usize)),
        net: parts.net.clone(),
        accepted: accepted.clone(),
    };
    let desk = Desk::new(parts.chain, parts.net, parts.door, parts.journal, accepted);
    (ingress, tokio::spawn(desk.run(inbox, parts.stop)))
}

impl Ingress {
    /// Takes a wallet's transaction. When this returns its name, the transaction survives a crash.
    pub async fn submit(&self, raw: &[u8]) -> Result<TxHash, IngressError> {
        if raw.len() > TX_BYTES_MAX {
            return Err(TxError::TooLong { found: raw.len() }.into());
        }
        let room = self
            .room
            .clone()
            .acquire_many_owned(kib(raw.len()))
            .await
            .map_err(|_| Stopped)?;
        let (reply, answer) = oneshot::channel();
        let offer = Offer {
            from: Origin::Local(reply),
            transactions: vec![raw.into()],
            _room: room,
        };
        self.inbox.send(offer).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)?
    }

    /// Takes gossip on [`net::Topic::Transactions`]. It gets its verdict.
    pub fn gossip(&self, id: GossipId, from: NodeId, bytes: &[u8]) {
        match read(bytes, GOSSIP_MAX) {
            Ok(transactions) if transactions.is_empty() => self.net.verdict(id, Verdict::Ignore),
            Ok(transactions) => {
                if !self.offer(Origin::Gossip(id.clone(), from), transactions, bytes.len()) {
                    self.net.verdict(id, Verdict::Ignore);
                }
            }
            Err(offence) => {
                self.net.verdict(id, Verdict::Reject);
                self.net.report(from, offence);
            }
        }
    }

    /// Takes transactions that a peer sent straight because they are too long for gossip.
    pub fn direct(&self, from: NodeId, bytes: &[u8]) {
        match read(bytes, TX_BYTES_MAX + 1024) {
            Ok(transactions) => {
                if !self.offer(Origin::Direct(from), transactions, bytes.len()) {
                    // Its sender spread it to others as well.
                    debug!(peer = %format_args!("{from:#}"), "no room for a peer's transactions");
                }
            }
            Err(offence) => self.net.report(from, offence),
        }
    }

    /// The names of transactions as they are taken in, whoever sent them.
    pub fn accepted(&self) -> broadcast::Receiver<TxHash> {
        self.accepted.subscribe()
    }

    /// Queues an offer without waiting; false if there is no room for it.
    fn offer(&self, from: Origin, transactions: Vec<Arc<[u8]>>, bytes: usize) -> bool {
        let Ok(room) = self.room.clone().try_acquire_many_owned(kib(bytes)) else {
            return false;
        };
        let offer = Offer {
            from,
            transactions,
            _room: room,
        };
        self.inbox.try_send(offer).is_ok()
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .clamp(1, ROOM_KIB)
}

/// Reads a peer's message.
fn read(bytes: &[u8], limit: usize) -> Result<Vec<Arc<[u8]>>, Offence> {
    if bytes.len() > limit {
        return Err(Offence::Oversize);
    }
    let transactions: Vec<Vec<u8>> = codec::decode(bytes, limit).map_err(|_| Offence::Malformed)?;
    if transactions.len() > MESSAGE_MAX {
        return Err(Offence::Malformed);
    }
    Ok(transactions.into_iter().map(Arc::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_no_honest_node_writes_is_an_offence() {
        let list = |count: usize| codec::encode(&vec![vec![1_u8]; count]);
        assert_eq!(read(&list(2), GOSSIP_MAX).unwrap().len(), 2);
        assert_eq!(read(b"xyz", GOSSIP_MAX), Err(Offence::Malformed));
        assert_eq!(read(&list(MESSAGE_MAX + 1), GOSSIP_MAX), Err(Offence::Malformed));
        assert_eq!(read(&[0; GOSSIP_MAX + 1], GOSSIP_MAX), Err(Offence::Oversize));
    }

    #[test]
    fn an_offer_takes_room_for_its_bytes_and_never_more_than_there_is() {
        assert_eq!((kib(0), kib(1024), kib(1025)), (1, 1, 2));
        assert_eq!(kib(usize::MAX), ROOM_KIB);
    }
}
