//! The task behind the door: admits what was offered, submits it, journals it, and answers everyone.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use consensus::mempool::{PoolError, Pooled};
use evm::pool_tx::{Door, TxError};
use net::{NetHandle, Offence, Verdict};
use protocol::TxHash;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    IngressError, Offer, Origin,
    journal::{KeepError, PoolJournal},
};
use crate::actor::{Chain, Stopped};
use base::{lock, words::chained};

/// Transactions that are looked at together.
const BATCH_MAX: usize = 1024;
/// The task.
pub(super) struct Desk {
    chain: Chain,
    net: NetHandle,
    door: Arc<Door>,
    journal: Arc<Mutex<PoolJournal>>,
    accepted: broadcast::Sender<TxHash>,
}

impl Desk {
    pub(super) fn new(
        chain: Chain,
        net: NetHandle,
        door: Door,
        journal: PoolJournal,
        accepted: broadcast::Sender<TxHash>,
    ) -> Self {
        Self {
            chain,
            net,
            door: Arc::new(door),
            journal: Arc::new(Mutex::new(journal)),
            accepted,
        }
    }

    /// Works until `stop`.
    pub(super) async fn run(self, mut inbox: mpsc::Receiver<Offer>, stop: CancellationToken) {
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
        let admitted = self.admit(raw).await;
        let (mut ours, mut theirs, mut sound) = (Vec::new(), Vec::new(), Vec::new());
        for (offer, found) in share_out(offers, admitted) {
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
        if lock(&self.journal).is_long() {
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
    lock::locked(journal)
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

/// Gives each offer what the door said about its transactions: all of them, or why one is refused.
fn share_out(offers: Vec<Offer>, admitted: Vec<Result<Pooled, TxError>>) -> Vec<(Offer, Result<Vec<Pooled>, TxError>)> {
    let mut admitted = admitted.into_iter();
    let share = |offer: Offer| {
        // All of them first: stopping at a refused one would leave its neighbours to the next offer.
        let own: Vec<_> = admitted.by_ref().take(offer.transactions.len()).collect();
        (offer, own.into_iter().collect())
    };
    let shared = offers.into_iter().map(share).collect();
    assert!(
        admitted.next().is_none(),
        "the door says something about every transaction, once"
    );
    shared
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
        // Whatever else the door finds are bytes that decode and cannot be true.
        _ => Offence::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Account, Amount, NodeId};
    use tokio::sync::Semaphore;

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
    fn a_bad_transaction_spoils_its_own_offer_and_no_other() {
        let pooled = |nonce: u64| Pooled {
            hash: TxHash([1; 32]),
            sender: Account([2; 20]),
            nonce,
            gas_limit: 21_000,
            fee_cap: 1,
            tip_cap: 1,
            cost: Amount(1),
            raw: Arc::from([0_u8]),
        };
        let admitted = vec![Err(TxError::Sender), Ok(pooled(1)), Ok(pooled(2)), Ok(pooled(3))];
        let shared = share_out(vec![offer(2), offer(1), offer(1)], admitted);
        let nonces = |found: &Result<Vec<Pooled>, TxError>| match found {
            Ok(pooled) => Ok(pooled.iter().map(|one| one.nonce).collect::<Vec<_>>()),
            Err(why) => Err(why.clone()),
        };
        let found: Vec<_> = shared.iter().map(|(_, found)| nonces(found)).collect();
        assert_eq!(found, [Err(TxError::Sender), Ok(vec![2]), Ok(vec![3])]);
    }

    #[test]
    fn gossip_is_passed_on_if_anything_in_it_was_new() {
        let (new, known) = (Ok(TxHash([1; 32])), Err(PoolError::Known));
        assert_eq!(verdict(&[known.clone(), new]), Verdict::Accept);
        assert_eq!(verdict(&[known, Err(PoolError::Full(3))]), Verdict::Ignore);
    }

    #[test]
    fn passing_on_a_bad_signature_is_worse_than_none() {
        assert_eq!(offence(&TxError::Sender), Offence::Invalid);
        assert_eq!(
            offence(&TxError::Encoding("not a transaction".into())),
            Offence::Malformed
        );
    }
}
