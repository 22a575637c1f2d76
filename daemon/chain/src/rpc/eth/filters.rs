//! `eth_`: installed filters, which return what is new since they were polled last.
//!
//! A filter is kept in memory until it is uninstalled or is not polled for five minutes. Filters for blocks and
//! logs miss nothing. A filter for pending transactions that is polled rarely misses some.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, FilterChanges, Log};
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::TxHash;
use tokio::sync::broadcast::{self, error::TryRecvError};

use super::logs::{matching, range, search};
use crate::rpc::{Rpc, Snapshot, convert, failure::Failure};
use base::{entropy, lock};

/// A filter that is not polled for this time is removed.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Most filters of a node.
const FILTERS_MAX: usize = 4096;

/// Methods of `eth_` for filters.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthFilters {
    /// Installs a filter for logs.
    #[method(name = "newFilter")]
    async fn new_filter(&self, filter: Filter) -> Result<String, Failure>;

    /// Installs a filter for blocks.
    #[method(name = "newBlockFilter")]
    async fn new_block_filter(&self) -> Result<String, Failure>;

    /// Installs a filter for accepted transactions.
    #[method(name = "newPendingTransactionFilter")]
    async fn new_pending_filter(&self, full: Option<bool>) -> Result<String, Failure>;

    /// The changes since the last poll.
    #[method(name = "getFilterChanges")]
    async fn changes(&self, id: String) -> Result<FilterChanges, Failure>;

    /// All logs that match a filter.
    #[method(name = "getFilterLogs")]
    async fn filter_logs(&self, id: String) -> Result<Vec<Log>, Failure>;

    /// Removes a filter; false if there is none with this id.
    #[method(name = "uninstallFilter")]
    async fn uninstall(&self, id: String) -> Result<bool, Failure>;
}

/// The subject of a filter.
enum FilterKind {
    Blocks,
    Logs(Box<Filter>),
    PendingTransactions {
        accepted: broadcast::Receiver<TxHash>,
        full: bool,
    },
}

struct InstalledFilter {
    kind: FilterKind,
    /// Height of the last block that was reported.
    reported: u64,
    polled_at: Instant,
}

/// All filters of a node, by id.
#[derive(Clone, Default)]
pub(crate) struct InstalledFilters(Arc<Mutex<BTreeMap<String, InstalledFilter>>>);

impl InstalledFilters {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, InstalledFilter>> {
        lock::locked(&self.0)
    }

    fn add(&self, kind: FilterKind, reported: u64, now: Instant) -> Result<String, Failure> {
        let mut filters = self.lock();
        filters.retain(|_, filter| now.saturating_duration_since(filter.polled_at) < IDLE_MAX);
        if filters.len() >= FILTERS_MAX {
            return Err(Failure::refused(format!(
                "{FILTERS_MAX} filters are open, which is the limit; uninstall some"
            )));
        }
        let id = format!("0x{}", hex::encode(entropy::bytes::<16>()));
        let filter = InstalledFilter {
            kind,
            reported,
            polled_at: now,
        };
        filters.insert(id.clone(), filter);
        Ok(id)
    }

    /// Reads a filter on behalf of a client that polls it.
    fn poll<T>(&self, id: &str, now: Instant, read: impl FnOnce(&mut InstalledFilter) -> T) -> Result<T, Failure> {
        let mut filters = self.lock();
        let filter = filters.get_mut(id).ok_or_else(not_found)?;
        filter.polled_at = now;
        Ok(read(filter))
    }
}

fn not_found() -> Failure {
    Failure::refused("filter not found")
}

/// The data that a poll has to read.
enum Poll {
    Blocks { above: u64 },
    Logs { above: u64, filter: Box<Filter> },
    PendingTransactions { hashes: Vec<TxHash>, full: bool },
}

#[async_trait]
impl EthFiltersServer for Rpc {
    async fn new_filter(&self, filter: Filter) -> Result<String, Failure> {
        let reported = self.head().height.0;
        self.filters
            .add(FilterKind::Logs(Box::new(filter)), reported, Instant::now())
    }

    async fn new_block_filter(&self) -> Result<String, Failure> {
        self.filters
            .add(FilterKind::Blocks, self.head().height.0, Instant::now())
    }

    async fn new_pending_filter(&self, full: Option<bool>) -> Result<String, Failure> {
        let kind = FilterKind::PendingTransactions {
            accepted: self.backend.accepted(),
            full: full.unwrap_or(false),
        };
        self.filters.add(kind, self.head().height.0, Instant::now())
    }

    async fn changes(&self, id: String) -> Result<FilterChanges, Failure> {
        let (head, most) = (self.head().height.0, self.log_blocks_max);
        let poll = self
            .filters
            .poll(&id, Instant::now(), |filter| next_poll(filter, head, most))?;
        match poll {
            Poll::Blocks { above } => {
                let names = move |snapshot: &Snapshot| {
                    let named = |height| Ok(snapshot.view.block_hash(height)?.map(|hash| B256::from(hash.0)));
                    let names = (above + 1..=head.min(above + most)).map(named);
                    names.filter_map(Result::transpose).collect::<Result<Vec<_>, Failure>>()
                };
                Ok(FilterChanges::Hashes(self.read(names).await?))
            }
            Poll::Logs { above, filter } => {
                let found = move |snapshot: &Snapshot| {
                    let mut found = Vec::new();
                    for height in above + 1..=head.min(above + most) {
                        if covers(snapshot, &filter, height) {
                            found.extend(matching(snapshot, &filter, height)?);
                        }
                    }
                    Ok(found)
                };
                Ok(FilterChanges::Logs(self.work(found).await?))
            }
            Poll::PendingTransactions { hashes, full: false } => Ok(FilterChanges::Hashes(
                hashes.into_iter().map(|hash| B256::from(hash.0)).collect(),
            )),
            Poll::PendingTransactions { hashes, full: true } => {
                let mut pending = Vec::new();
                for hash in hashes {
                    // A transaction that was included meanwhile is no longer pending.
                    pending.extend(
                        self.backend
                            .pooled(hash)
                            .await?
                            .map(|pooled| convert::pending_transaction(&pooled)),
                    );
                }
                Ok(FilterChanges::Transactions(pending))
            }
        }
    }

    async fn filter_logs(&self, id: String) -> Result<Vec<Log>, Failure> {
        let filter = self.filters.poll(&id, Instant::now(), |filter| match &filter.kind {
            FilterKind::Logs(filter) => Some(filter.clone()),
            FilterKind::Blocks | FilterKind::PendingTransactions { .. } => None,
        })?;
        let filter = filter.ok_or_else(not_found)?;
        let (blocks_max, logs_max) = (self.log_blocks_max, self.logs_max);
        self.work(move |snapshot| {
            let (from, to) = range(snapshot, &filter, blocks_max)?;
            search(snapshot, &filter, from, to, logs_max)
        })
        .await
    }

    async fn uninstall(&self, id: String) -> Result<bool, Failure> {
        Ok(self.filters.lock().remove(&id).is_some())
    }
}

/// What a poll has to read. A filter that was not polled for long is reported in parts of `most` blocks.
fn next_poll(filter: &mut InstalledFilter, head: u64, most: u64) -> Poll {
    let above = filter.reported;
    match &mut filter.kind {
        FilterKind::PendingTransactions { accepted, full } => Poll::PendingTransactions {
            hashes: drain(accepted),
            full: *full,
        },
        FilterKind::Blocks => {
            filter.reported = head.min(above + most);
            Poll::Blocks { above }
        }
        FilterKind::Logs(criteria) => {
            filter.reported = head.min(above + most);
            Poll::Logs {
                above,
                filter: criteria.clone(),
            }
        }
    }
}

/// Returns true if the filter's range contains this block.
fn covers(snapshot: &Snapshot, filter: &Filter, height: u64) -> bool {
    match filter.block_option {
        FilterBlockOption::AtBlockHash(_) => false,
        FilterBlockOption::Range { from_block, to_block } => {
            // A tag means the newest block at the time of the poll.
            let bound = |block: Option<alloy_eips::BlockNumberOrTag>, open: u64| {
                block
                    .filter(|block| block.is_number() || block.is_earliest())
                    .map_or(open, |block| snapshot.number(block))
            };
            (bound(from_block, 0)..=bound(to_block, u64::MAX)).contains(&height)
        }
    }
}

fn drain(accepted: &mut broadcast::Receiver<TxHash>) -> Vec<TxHash> {
    let mut hashes = Vec::new();
    loop {
        match accepted.try_recv() {
            Ok(hash) => hashes.push(hash),
            Err(TryRecvError::Lagged(_)) => (),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return hashes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_removed_when_it_is_not_polled() {
        let (filters, start) = (InstalledFilters::default(), Instant::now());
        let old = filters.add(FilterKind::Blocks, 7, start).unwrap();
        let polled = filters.add(FilterKind::Blocks, 7, start).unwrap();
        let later = start + IDLE_MAX - Duration::from_secs(1);
        assert_eq!(filters.poll(&polled, later, |filter| filter.reported), Ok(7));
        filters.add(FilterKind::Blocks, 7, start + IDLE_MAX).unwrap();
        assert_eq!(filters.poll(&old, later, |filter| filter.reported), Err(not_found()));
        assert_eq!(filters.poll(&polled, later, |filter| filter.reported), Ok(7));
    }

    #[test]
    fn the_number_of_filters_is_limited() {
        let (filters, now) = (InstalledFilters::default(), Instant::now());
        for _ in 0..FILTERS_MAX {
            filters.add(FilterKind::Blocks, 0, now).unwrap();
        }
        let why = filters.add(FilterKind::Blocks, 0, now).unwrap_err();
        assert!(why.to_string().contains("4096 filters are open"), "{why}");
    }
}
