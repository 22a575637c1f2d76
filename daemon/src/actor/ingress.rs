//! The way in for transactions: from wallets, from gossip, and straight from peers when they are too long for gossip.
//!
//! One task takes what waits in batches, recovers senders in parallel away from the async threads, and submits to the
//! chain. What a wallet sent is journalled and synced before it is acknowledged. Gossip gets its verdict here. What waits
//! at the door is bounded in bytes: wallets wait for room, peers are not heard until there is some.

pub mod journal;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use consensus::mempool::{PoolError, Pooled};
use evm::pool_tx::{Door, TX_BYTES_MAX, TxError};
use net::{GossipId, NetHandle, Offence, Verdict};
use protocol::{NodeId, TxHash, codec, message::chain::GOSSIP_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::chain::{Chain, Stopped};
use crate::words::chained;
use journal::{KeepError, PoolJournal};

/// Transactions that are looked at together.
const BATCH_MAX: usize = 1024;
/// Offers that may wait, whatever their size.
const INBOX: usize = 8192;
/// Bytes that may wait, in KiB.
const ROOM_KIB: u32 = 64 << 10;
/// Transactions in one message of a peer: more than the shortest that exist would fit gossip.
const MESSAGE_MAX: usize = 512;
/// The journal is rewritten when it is longer than this.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
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
pub(crate) struct Parts {
    pub(crate) chain: Chain,
    pub(crate) net: NetHandle,
    pub(crate) door: Door,
    pub(crate) journal: PoolJournal,
    pub(crate) stop: CancellationToken,
}

/// Starts the task: first it offers again what the journal kept, then it takes what comes. It ends with `stop`.
pub(crate) fn spawn(parts: Parts) -> (Ingress, tokio::task::JoinHandle<()>) {
    let (sender, inbox) = mpsc::channel(INBOX);
    let accepted = broadcast::channel(ACCEPTED).0;
    let ingress = Ingress {
        inbox: sender,
        room: Arc::new(Semaphore::new(ROOM_KIB as usize)),
        net: parts.net.clone(),
        accepted: accepted.clone(),
    };
    let desk = Desk {
        chain: parts.chain,
        net: parts.net,
        door: Arc::new(parts.door),
        journal: Arc::new(Mutex::new(parts.journal)),
        accepted,
    };
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

/// The task.
struct Desk {
    chain: Chain,
    net: NetHandle,
    door: Arc<Door>,
    journal: Arc<Mutex<PoolJournal>>,
    accepted: broadcast::Sender<TxHash>,
}

impl Desk {
    async fn run(self, mut inbox: mpsc::Receiver<Offer>, stop: CancellationToken) {
        let served = tokio::select! {
            () = stop.cancelled() => Ok(()),
            served = self.serve(&mut inbox) => served,
        };
        if let Err(why) = served {
            debug!(%why, "transactions are no longer taken in");
        }
    }

    async fn serve(&self, inbox: &mut mpsc::Receiver<Offer>) -> Result<(), Stopped> {
        self.restore().await?;
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                let mut taken = Vec::new();
                if inbox.recv_many(&mut taken, BATCH_MAX).await == 0 {
                    return Ok(());
                }
                waiting.extend(taken);
            }
            self.take(next_batch(&mut waiting)).await?;
        }
    }

    /// Offers again what the journal kept, and forgets what no longer waits.
    async fn restore(&self) -> Result<(), Stopped> {
        let journal = self.journal.clone();
        let kept: Vec<_> = blocking(move || lock(&journal).transactions().collect()).await;
        let mut back = 0;
        for some in kept.chunks(BATCH_MAX) {
            let admitted = self.admit(some.to_vec()).await;
            let sound = admitted.into_iter().filter_map(Result::ok).collect();
            back += self
                .submit(sound, true)
                .await?
                .iter()
                .filter(|taken| taken.is_ok())
                .count();
        }
        if !kept.is_empty() {
            info!(
                kept = kept.len(),
                waiting = back,
                "transactions from before the restart"
            );
            self.shorten().await?;
        }
        Ok(())
    }

    async fn take(&self, offers: Vec<Offer>) -> Result<(), Stopped> {
        let raw: Vec<_> = offers
            .iter()
            .flat_map(|offer| offer.transactions.iter().cloned())
            .collect();
        let mut admitted = self.admit(raw).await.into_iter();
        let (mut ours, mut theirs, mut sound) = (Vec::new(), Vec::new(), Vec::new());
        for offer in offers {
            let found: Result<Vec<_>, TxError> = admitted.by_ref().take(offer.transactions.len()).collect();
            match found {
                Ok(pooled) => {
                    let spread = !matches!(offer.from, Origin::Gossip(..));
                    if spread { &mut ours } else { &mut theirs }.extend(pooled);
                    sound.push(offer);
                }
                // One bad transaction and the whole message is refused: its sender should have checked them all.
                Err(why) => self.refuse(offer.from, why),
            }
        }
        let mut ours = self.submit(ours, true).await?.into_iter();
        let mut theirs = self.submit(theirs, false).await?.into_iter();
        let (mut keep, mut acknowledge) = (Vec::new(), Vec::new());
        for offer in sound {
            let count = offer.transactions.len();
            let results = if matches!(offer.from, Origin::Gossip(..)) {
                &mut theirs
            } else {
                &mut ours
            };
            let results: Vec<_> = results.by_ref().take(count).collect();
            // Nobody may be subscribed.
            results
                .iter()
                .flatten()
                .for_each(|hash| drop(self.accepted.send(*hash)));
            match offer.from {
                Origin::Gossip(id, _) => self.net.verdict(id, verdict(&results)),
                Origin::Direct(_) => (),
                Origin::Local(reply) => {
                    let result = results.into_iter().next().expect("a wallet offers one transaction");
                    keep.extend(result.is_ok().then_some(offer.transactions).into_iter().flatten());
                    acknowledge.push((reply, result));
                }
            }
        }
        let kept = if keep.is_empty() { Ok(()) } else { self.keep(keep).await };
        for (reply, result) in acknowledge {
            let result = match (result, &kept) {
                (Ok(_), Err(why)) => Err(IngressError::Disk(why.clone())),
                (result, _) => result.map_err(IngressError::Pool),
            };
            // Whoever asked may be gone.
            drop(reply.send(result));
        }
        if lock(&self.journal).bytes() > JOURNAL_BYTES_MAX {
            self.shorten().await?;
        }
        Ok(())
    }

    async fn submit(&self, transactions: Vec<Pooled>, ours: bool) -> Result<Vec<Result<TxHash, PoolError>>, Stopped> {
        if transactions.is_empty() {
            return Ok(Vec::new());
        }
        self.chain.submit(transactions, ours).await
    }

    async fn admit(&self, raw: Vec<Arc<[u8]>>) -> Vec<Result<Pooled, TxError>> {
        let door = self.door.clone();
        blocking(move || door.admit_all(&raw)).await
    }

    /// Writes transactions down; they are durable when this returns. The error is a text, since many hear of it.
    async fn keep(&self, transactions: Vec<Arc<[u8]>>) -> Result<(), String> {
        let journal = self.journal.clone();
        let kept = blocking(move || lock(&journal).keep(&transactions)).await;
        kept.map_err(|why| {
            let why = chained(&why);
            warn!(error = why, "transactions were not kept");
            why
        })
    }

    /// Rewrites the journal with what still waits.
    async fn shorten(&self) -> Result<(), Stopped> {
        let waiting: BTreeSet<TxHash> = self
            .chain
            .look(|node| node.pool.iter().map(|(one, _)| one.hash).collect())
            .await?;
        let journal = self.journal.clone();
        let rewrite = move || {
            let waits = |raw: &[u8]| waiting.contains(&TxHash(alloy_primitives::keccak256(raw).0));
            lock(&journal).rewrite(waits)
        };
        if let Err(why) = blocking::<Result<(), KeepError>>(rewrite).await {
            warn!(
                error = chained(&why),
                "the list of waiting transactions was not shortened"
            );
        }
        Ok(())
    }

    /// An offer with a transaction that no node takes.
    fn refuse(&self, from: Origin, why: TxError) {
        match from {
            Origin::Local(reply) => drop(reply.send(Err(why.into()))),
            Origin::Gossip(id, peer) => {
                debug!(peer = %format_args!("{peer:#}"), %why, "refused gossiped transactions");
                self.net.verdict(id, Verdict::Reject);
                self.net.report(peer, offence(&why));
            }
            Origin::Direct(peer) => {
                debug!(peer = %format_args!("{peer:#}"), %why, "refused a peer's transactions");
                self.net.report(peer, offence(&why));
            }
        }
    }
}

fn lock(journal: &Mutex<PoolJournal>) -> std::sync::MutexGuard<'_, PoolJournal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("what runs here does not panic, and is never aborted")
}

/// Takes offers from the front while they have at most [`BATCH_MAX`] transactions together; at least one offer.
fn next_batch(waiting: &mut VecDeque<Offer>) -> Vec<Offer> {
    let (mut batch, mut count) = (Vec::new(), 0);
    while let Some(offer) = waiting.front() {
        count += offer.transactions.len();
        if count > BATCH_MAX && !batch.is_empty() {
            break;
        }
        batch.extend(waiting.pop_front());
    }
    batch
}

/// What to say about gossip whose transactions are all sound: worth passing on if any was new here.
fn verdict(results: &[Result<TxHash, PoolError>]) -> Verdict {
    if results.iter().any(Result::is_ok) {
        Verdict::Accept
    } else {
        Verdict::Ignore
    }
}

/// How bad it is to pass on a transaction that is refused whatever the state is.
fn offence(why: &TxError) -> Offence {
    match why {
        TxError::Encoding(_) => Offence::Malformed,
        TxError::TooLong { .. } => Offence::Oversize,
        TxError::Blobs
        | TxError::Chain { .. }
        | TxError::Unprotected(_)
        | TxError::Sender
        | TxError::IntrinsicGas { .. }
        | TxError::GasLimit { .. }
        | TxError::TipAboveCap { .. }
        | TxError::Cost
        | TxError::NonceMax
        | TxError::InitCode { .. }
        | TxError::SetCode => Offence::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(transactions: usize) -> Offer {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let from = Origin::Direct(NodeId([1; 32]));
        Offer {
            from,
            transactions: vec![Arc::from([1_u8]); transactions],
            _room: room,
        }
    }

    fn batches(sizes: &[usize]) -> Vec<usize> {
        let mut waiting: VecDeque<_> = sizes.iter().map(|size| offer(*size)).collect();
        let mut found = Vec::new();
        while !waiting.is_empty() {
            found.push(next_batch(&mut waiting).len());
        }
        found
    }

    #[test]
    fn a_batch_is_as_many_offers_as_fit_and_never_none() {
        assert_eq!(batches(&[1000, 24, 1]), [2, 1]);
        assert_eq!(batches(&[512, 512, 512]), [2, 1]);
        assert_eq!(batches(&[5000, 1]), [1, 1]);
        assert_eq!(batches(&[]), [0; 0]);
    }

    #[test]
    fn gossip_is_passed_on_if_anything_in_it_was_new() {
        let (new, known) = (Ok(TxHash([1; 32])), Err(PoolError::Known));
        assert_eq!(verdict(&[known.clone(), new]), Verdict::Accept);
        assert_eq!(verdict(&[known, Err(PoolError::Full(3))]), Verdict::Ignore);
    }

    #[test]
    fn a_message_that_no_honest_node_writes_is_an_offence() {
        let list = |count: usize| codec::encode(&vec![vec![1_u8]; count]);
        assert_eq!(read(&list(2), GOSSIP_MAX).unwrap().len(), 2);
        assert_eq!(read(b"xyz", GOSSIP_MAX), Err(Offence::Malformed));
        assert_eq!(read(&list(MESSAGE_MAX + 1), GOSSIP_MAX), Err(Offence::Malformed));
        assert_eq!(read(&[0; GOSSIP_MAX + 1], GOSSIP_MAX), Err(Offence::Oversize));
        assert_eq!(offence(&TxError::Sender), Offence::Invalid);
    }

    #[test]
    fn an_offer_takes_room_for_its_bytes_and_never_more_than_there_is() {
        assert_eq!((kib(0), kib(1024), kib(1025)), (1, 1, 2));
        assert_eq!(kib(usize::MAX), ROOM_KIB);
    }
}
