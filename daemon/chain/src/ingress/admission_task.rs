//! The task that admits submitted transactions: checks them, submits them to the mempool, journals them, and
//! answers.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use consensus::mempool::{PoolError, PooledTransaction};
use evm::pool_tx::{TxError, TxValidator};
use net::{NetHandle, Offence, Verdict};
use protocol::TxHash;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    IngressError, Origin, Submission,
    journal::{PoolJournal, PoolJournalError},
};
use crate::actor::{Chain, Stopped};
use base::{errors::chained, lock};

/// Most transactions that are checked together.
const BATCH_MAX: usize = 1024;
/// Receives the result of a wallet's transaction.
type Reply = oneshot::Sender<Result<TxHash, IngressError>>;

/// The admission task; see [`super::spawn`].
pub(super) struct AdmissionTask {
    chain: Chain,
    net: NetHandle,
    tx_validator: Arc<TxValidator>,
    journal: Arc<Mutex<PoolJournal>>,
    accepted: broadcast::Sender<TxHash>,
}

impl AdmissionTask {
    pub(super) fn new(
        chain: Chain,
        net: NetHandle,
        tx_validator: TxValidator,
        journal: PoolJournal,
        accepted: broadcast::Sender<TxHash>,
    ) -> Self {
        Self {
            chain,
            net,
            tx_validator: Arc::new(tx_validator),
            journal: Arc::new(Mutex::new(journal)),
            accepted,
        }
    }

    /// Runs until `stop`.
    pub(super) async fn run(self, mut inbox: mpsc::Receiver<Submission>, stop: CancellationToken) {
        let served = tokio::select! {
            () = stop.cancelled() => Ok(()),
            served = self.serve(&mut inbox) => served,
        };
        if let Err(why) = served {
            debug!(%why, "transaction admission ended");
        }
    }

    async fn serve(&self, inbox: &mut mpsc::Receiver<Submission>) -> Result<(), Stopped> {
        self.restore().await?;
        let mut queue = VecDeque::new();
        loop {
            if queue.is_empty() {
                let mut received = Vec::new();
                if inbox.recv_many(&mut received, BATCH_MAX).await == 0 {
                    return Ok(());
                }
                queue.extend(received);
            }
            self.process(next_batch(&mut queue)).await?;
        }
    }

    /// Submits the journalled transactions again, and drops those that are no longer pending from the journal.
    async fn restore(&self) -> Result<(), Stopped> {
        let journal = self.journal.clone();
        let journalled: Vec<_> = blocking(move || lock(&journal).transactions().collect()).await;
        let mut restored = 0;
        for chunk in journalled.chunks(BATCH_MAX) {
            let admitted = self.admit(chunk.to_vec()).await;
            let valid = admitted.into_iter().filter_map(Result::ok).collect();
            restored += self
                .submit(valid, true)
                .await?
                .iter()
                .filter(|result| result.is_ok())
                .count();
        }
        if !journalled.is_empty() {
            info!(
                journalled = journalled.len(),
                restored, "restored transactions from the journal"
            );
            self.compact_journal().await?;
        }
        Ok(())
    }

    /// Takes a batch of submissions from check to answer.
    async fn process(&self, submissions: Vec<Submission>) -> Result<(), Stopped> {
        let raw: Vec<_> = submissions
            .iter()
            .flat_map(|submission| submission.transactions.iter().cloned())
            .collect();
        let admitted = self.admit(raw).await;
        let (mut to_gossip, mut from_gossip, mut valid) = (Vec::new(), Vec::new(), Vec::new());
        for (submission, found) in results_by_submission(submissions, admitted) {
            match found {
                Ok(pooled) => {
                    let spread = !matches!(submission.from, Origin::Gossip(..));
                    if spread { &mut to_gossip } else { &mut from_gossip }.extend(pooled);
                    valid.push(submission);
                }
                // One invalid transaction refuses the whole message: its sender should have checked them all.
                Err(why) => self.refuse(submission.from, why),
            }
        }
        let mut to_gossip = self.submit(to_gossip, true).await?.into_iter();
        let mut from_gossip = self.submit(from_gossip, false).await?.into_iter();
        let (mut to_journal, mut acknowledge) = (Vec::new(), Vec::new());
        for submission in valid {
            let count = submission.transactions.len();
            let results = if matches!(submission.from, Origin::Gossip(..)) {
                &mut from_gossip
            } else {
                &mut to_gossip
            };
            let results: Vec<_> = results.by_ref().take(count).collect();
            // There may be no subscriber.
            results
                .iter()
                .flatten()
                .for_each(|hash| drop(self.accepted.send(*hash)));
            match submission.from {
                Origin::Gossip(id, _) => self.net.verdict(id, verdict(&results)),
                Origin::Direct(_) => (),
                Origin::Local(reply) => {
                    let result = results.into_iter().next().expect("a wallet submits one transaction");
                    to_journal.extend(result.is_ok().then_some(submission.transactions).into_iter().flatten());
                    acknowledge.push((reply, result));
                }
            }
        }
        self.acknowledge(to_journal, acknowledge).await;
        if lock(&self.journal).needs_rewrite() {
            self.compact_journal().await?;
        }
        Ok(())
    }

    /// Answers wallets, after their accepted transactions are durable in the journal.
    async fn acknowledge(&self, to_journal: Vec<Arc<[u8]>>, results: Vec<(Reply, Result<TxHash, PoolError>)>) {
        let journalled = if to_journal.is_empty() {
            Ok(())
        } else {
            self.journal_all(to_journal).await
        };
        for (reply, result) in results {
            let result = match (result, &journalled) {
                (Ok(_), Err(why)) => Err(IngressError::Disk(why.clone())),
                (result, _) => result.map_err(IngressError::Pool),
            };
            // The caller may be gone.
            drop(reply.send(result));
        }
    }

    async fn submit(
        &self,
        transactions: Vec<PooledTransaction>,
        gossip: bool,
    ) -> Result<Vec<Result<TxHash, PoolError>>, Stopped> {
        if transactions.is_empty() {
            return Ok(Vec::new());
        }
        self.chain.submit(transactions, gossip).await
    }

    async fn admit(&self, raw: Vec<Arc<[u8]>>) -> Vec<Result<PooledTransaction, TxError>> {
        let tx_validator = self.tx_validator.clone();
        blocking(move || tx_validator.admit_all(&raw)).await
    }

    /// Writes transactions to the journal; they are durable when this returns. The error is a text, because several
    /// callers get it.
    async fn journal_all(&self, transactions: Vec<Arc<[u8]>>) -> Result<(), String> {
        let journal = self.journal.clone();
        let journalled = blocking(move || lock(&journal).append(&transactions)).await;
        journalled.map_err(|why| {
            let why = chained(&why);
            warn!(error = why, "could not journal transactions");
            why
        })
    }

    /// Rewrites the journal with the transactions that are still in the mempool.
    async fn compact_journal(&self) -> Result<(), Stopped> {
        let pending: BTreeSet<TxHash> = self
            .chain
            .query(|node| node.pool.iter().map(|(pooled, _)| pooled.hash).collect())
            .await?;
        let journal = self.journal.clone();
        let rewrite = move || {
            let is_pending = |raw: &[u8]| pending.contains(&TxHash(alloy_primitives::keccak256(raw).0));
            lock(&journal).rewrite(is_pending)
        };
        if let Err(why) = blocking::<Result<(), PoolJournalError>>(rewrite).await {
            warn!(error = chained(&why), "could not rewrite the journal of transactions");
        }
        Ok(())
    }

    /// Refuses a submission with a transaction that is invalid in any state.
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
        .expect("a blocking task does not panic and is never aborted")
}

/// Takes submissions from the front, with at most [`BATCH_MAX`] transactions together but at least one submission.
fn next_batch(queue: &mut VecDeque<Submission>) -> Vec<Submission> {
    let (mut batch, mut count) = (Vec::new(), 0);
    while let Some(submission) = queue.front() {
        count += submission.transactions.len();
        if count > BATCH_MAX && !batch.is_empty() {
            break;
        }
        batch.extend(queue.pop_front());
    }
    batch
}

/// Gives each submission the results of its transactions: all transactions, or the error of the first invalid one.
fn results_by_submission(
    submissions: Vec<Submission>,
    admitted: Vec<Result<PooledTransaction, TxError>>,
) -> Vec<(Submission, Result<Vec<PooledTransaction>, TxError>)> {
    let mut admitted = admitted.into_iter();
    let group = |submission: Submission| {
        // All of its results first: stopping at an error would leave the rest to the next submission.
        let own: Vec<_> = admitted.by_ref().take(submission.transactions.len()).collect();
        (submission, own.into_iter().collect())
    };
    let grouped = submissions.into_iter().map(group).collect();
    assert!(admitted.next().is_none(), "every transaction has one result");
    grouped
}

/// The verdict about gossip whose transactions are all valid: passed on if any was new here.
fn verdict(results: &[Result<TxHash, PoolError>]) -> Verdict {
    if results.iter().any(Result::is_ok) {
        Verdict::Accept
    } else {
        Verdict::Ignore
    }
}

/// The offence of passing on a transaction that is invalid in any state.
fn offence(why: &TxError) -> Offence {
    match why {
        TxError::Encoding(_) => Offence::Malformed,
        TxError::TooLong { .. } => Offence::Oversize,
        // All other errors mean bytes that decode to an invalid transaction.
        _ => Offence::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Account, Amount, NodeId};
    use tokio::sync::Semaphore;

    use super::*;

    fn submission(transactions: usize) -> Submission {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let from = Origin::Direct(NodeId([1; 32]));
        Submission {
            from,
            transactions: vec![Arc::from([1_u8]); transactions],
            _permit: permit,
        }
    }

    fn batches(sizes: &[usize]) -> Vec<usize> {
        let mut queue: VecDeque<_> = sizes.iter().map(|size| submission(*size)).collect();
        let mut found = Vec::new();
        while !queue.is_empty() {
            found.push(next_batch(&mut queue).len());
        }
        found
    }

    #[test]
    fn a_batch_has_as_many_submissions_as_fit_and_at_least_one() {
        assert_eq!(batches(&[1000, 24, 1]), [2, 1]);
        assert_eq!(batches(&[512, 512, 512]), [2, 1]);
        assert_eq!(batches(&[5000, 1]), [1, 1]);
        assert_eq!(batches(&[]), [0; 0]);
    }

    #[test]
    fn an_invalid_transaction_refuses_its_own_submission_only() {
        let pooled = |nonce: u64| PooledTransaction {
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
        let grouped = results_by_submission(vec![submission(2), submission(1), submission(1)], admitted);
        let nonces = |found: &Result<Vec<PooledTransaction>, TxError>| match found {
            Ok(pooled) => Ok(pooled.iter().map(|pooled| pooled.nonce).collect::<Vec<_>>()),
            Err(why) => Err(why.clone()),
        };
        let found: Vec<_> = grouped.iter().map(|(_, found)| nonces(found)).collect();
        assert_eq!(found, [Err(TxError::Sender), Ok(vec![2]), Ok(vec![3])]);
    }

    #[test]
    fn gossip_is_passed_on_if_any_transaction_was_new() {
        let (new, known) = (Ok(TxHash([1; 32])), Err(PoolError::Known));
        assert_eq!(verdict(&[known.clone(), new]), Verdict::Accept);
        assert_eq!(verdict(&[known, Err(PoolError::Full(3))]), Verdict::Ignore);
    }

    #[test]
    fn an_invalid_signature_and_malformed_bytes_are_different_offences() {
        assert_eq!(offence(&TxError::Sender), Offence::Invalid);
        assert_eq!(
            offence(&TxError::Encoding("not a transaction".into())),
            Offence::Malformed
        );
    }
}
