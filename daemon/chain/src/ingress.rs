//! Admission of transactions from wallets, from gossip, and from peers directly if they are too long for gossip.
//!
//! One task takes queued submissions in batches, recovers senders in parallel on blocking threads, and submits to
//! the chain. A wallet's transaction is journalled and synced before it is acknowledged. Gossip gets its verdict
//! here. The queue is bounded in bytes: a wallet waits for space, a peer's message is dropped.

mod admission_task;
pub mod journal;

use std::sync::Arc;

use consensus::mempool::PoolError;
use evm::pool_tx::{TX_BYTES_MAX, TxError, TxValidator};
use net::{GossipId, NetHandle, Offence, Verdict};
use protocol::{NodeId, TxHash, codec, message::chain::GOSSIP_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::actor::{Chain, Stopped};
use admission_task::AdmissionTask;
use journal::PoolJournal;

/// Submissions in the queue, whatever their size.
const INBOX: usize = 8192;
/// KiB of transactions in the queue.
const QUEUED_KIB_MAX: u32 = 64 << 10;
/// Most transactions in one message of a peer. It is more than fit into gossip at the shortest.
const MESSAGE_MAX: usize = 512;
/// Hashes of accepted transactions that a slow subscriber may lag behind.
const ACCEPTED: usize = 4096;

/// Reason that a transaction was not accepted. Wallets match on the texts.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The transaction is invalid in any state.
    #[error(transparent)]
    TxValidator(#[from] TxError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The transaction is in the mempool, but not in the journal: it would not survive a restart.
    #[error(
        "the transaction is in the mempool, but the disk of this node did not keep it ({0}); free space, and send it again if it is not included"
    )]
    Disk(String),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The source of a submission, and with it the receiver of the result.
enum Origin {
    Local(oneshot::Sender<Result<TxHash, IngressError>>),
    Gossip(GossipId, NodeId),
    Direct(NodeId),
}

struct Submission {
    from: Origin,
    transactions: Vec<Arc<[u8]>>,
    _permit: OwnedSemaphorePermit,
}

/// A handle to the admission task. Clones share the same task.
#[derive(Clone)]
pub struct Ingress {
    inbox: mpsc::Sender<Submission>,
    queued_bytes: Arc<Semaphore>,
    net: NetHandle,
    accepted: broadcast::Sender<TxHash>,
}

/// The parts that the admission task owns, for [`spawn`].
pub struct Parts {
    pub chain: Chain,
    pub net: NetHandle,
    pub tx_validator: TxValidator,
    pub journal: PoolJournal,
    pub stop: CancellationToken,
}

/// Starts the admission task. It submits the journalled transactions again and then takes new ones. It ends with
/// `stop`.
pub fn spawn(parts: Parts) -> (Ingress, tokio::task::JoinHandle<()>) {
    let (sender, inbox) = mpsc::channel(INBOX);
    let accepted = broadcast::channel(ACCEPTED).0;
    let ingress = Ingress {
        inbox: sender,
        queued_bytes: Arc::new(Semaphore::new(QUEUED_KIB_MAX as usize)),
        net: parts.net.clone(),
        accepted: accepted.clone(),
    };
    let task = AdmissionTask::new(parts.chain, parts.net, parts.tx_validator, parts.journal, accepted);
    (ingress, tokio::spawn(task.run(inbox, parts.stop)))
}

impl Ingress {
    /// Submits a wallet's transaction. Once its hash is returned the transaction survives a crash of this node.
    pub async fn submit(&self, raw: &[u8]) -> Result<TxHash, IngressError> {
        if raw.len() > TX_BYTES_MAX {
            return Err(TxError::TooLong { found: raw.len() }.into());
        }
        let permit = self
            .queued_bytes
            .clone()
            .acquire_many_owned(kib(raw.len()))
            .await
            .map_err(|_| Stopped)?;
        let (reply, answer) = oneshot::channel();
        let submission = Submission {
            from: Origin::Local(reply),
            transactions: vec![raw.into()],
            _permit: permit,
        };
        self.inbox.send(submission).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)?
    }

    /// Submits a gossiped message of [`net::Topic::Transactions`] and gives its verdict.
    pub fn gossip(&self, id: GossipId, from: NodeId, bytes: &[u8]) {
        match read(bytes, GOSSIP_MAX) {
            Ok(transactions) if transactions.is_empty() => self.net.verdict(id, Verdict::Ignore),
            Ok(transactions) => {
                if !self.enqueue(Origin::Gossip(id.clone(), from), transactions, bytes.len()) {
                    self.net.verdict(id, Verdict::Ignore);
                }
            }
            Err(offence) => {
                self.net.verdict(id, Verdict::Reject);
                self.net.report(from, offence);
            }
        }
    }

    /// Submits transactions that a peer sent directly because they are too long for gossip.
    pub fn direct(&self, from: NodeId, bytes: &[u8]) {
        match read(bytes, TX_BYTES_MAX + 1024) {
            Ok(transactions) => {
                if !self.enqueue(Origin::Direct(from), transactions, bytes.len()) {
                    // The sender sent them to other peers as well.
                    debug!(peer = %format_args!("{from:#}"), "dropped a peer's transactions: the queue is full");
                }
            }
            Err(offence) => self.net.report(from, offence),
        }
    }

    /// Hashes of transactions as they are accepted, from any source.
    pub fn accepted(&self) -> broadcast::Receiver<TxHash> {
        self.accepted.subscribe()
    }

    /// Queues a submission without waiting. Returns false if the queue is full.
    fn enqueue(&self, from: Origin, transactions: Vec<Arc<[u8]>>, bytes: usize) -> bool {
        let Ok(permit) = self.queued_bytes.clone().try_acquire_many_owned(kib(bytes)) else {
            return false;
        };
        let submission = Submission {
            from,
            transactions,
            _permit: permit,
        };
        self.inbox.try_send(submission).is_ok()
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .clamp(1, QUEUED_KIB_MAX)
}

/// Decodes a peer's message.
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
    fn an_oversized_or_malformed_message_is_an_offence() {
        let list = |count: usize| codec::encode(&vec![vec![1_u8]; count]);
        assert_eq!(read(&list(2), GOSSIP_MAX).unwrap().len(), 2);
        assert_eq!(read(b"xyz", GOSSIP_MAX), Err(Offence::Malformed));
        assert_eq!(read(&list(MESSAGE_MAX + 1), GOSSIP_MAX), Err(Offence::Malformed));
        assert_eq!(read(&[0; GOSSIP_MAX + 1], GOSSIP_MAX), Err(Offence::Oversize));
    }

    #[test]
    fn a_submission_takes_permits_for_its_bytes_and_never_more_than_exist() {
        assert_eq!((kib(0), kib(1024), kib(1025)), (1, 1, 2));
        assert_eq!(kib(usize::MAX), QUEUED_KIB_MAX);
    }
}
