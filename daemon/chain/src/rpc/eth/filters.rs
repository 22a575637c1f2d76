//! `eth_`: filters: what happened since somebody last asked.
//!
//! A filter is kept in memory until it is given up, or nobody asked for five minutes. Blocks and logs miss nothing; of
//! waiting transactions one that is asked rarely misses some.

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
use crate::rpc::{Rpc, Shown, failure::Failure, shape};
use base::{entropy, lock};

/// A filter that nobody asked for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
/// Filters at once.
const FILTERS_MAX: usize = 4096;

/// Methods of `eth_` about filters.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthFilters {
    /// Starts to watch for logs.
    #[method(name = "newFilter")]
    async fn new_filter(&self, filter: Filter) -> Result<String, Failure>;

    /// Starts to watch for blocks.
    #[method(name = "newBlockFilter")]
    async fn new_block_filter(&self) -> Result<String, Failure>;

    /// Starts to watch for transactions that are taken in.
    #[method(name = "newPendingTransactionFilter")]
    async fn new_pending_filter(&self, full: Option<bool>) -> Result<String, Failure>;

    /// What came since the last time.
    #[method(name = "getFilterChanges")]
    async fn changes(&self, id: String) -> Result<FilterChanges, Failure>;

    /// All logs that a filter is about.
    #[method(name = "getFilterLogs")]
    async fn filter_logs(&self, id: String) -> Result<Vec<Log>, Failure>;

    /// Gives a filter up; false if there is none with this name.
    #[method(name = "uninstallFilter")]
    async fn uninstall(&self, id: String) -> Result<bool, Failure>;
}

/// What is watched.
enum Watched {
    Blocks,
    Logs(Box<Filter>),
    Waiting {
        accepted: broadcast::Receiver<TxHash>,
        full: bool,
    },
}

struct Watch {
    watched: Watched,
    /// The last block that was told.
    told: u64,
    asked: Instant,
}

/// All filters of a node, by name.
#[derive(Clone, Default)]
pub(crate) struct Watches(Arc<Mutex<BTreeMap<String, Watch>>>);

impl Watches {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Watch>> {
        lock::locked(&self.0)
    }

    fn add(&self, watched: Watched, told: u64, now: Instant) -> Result<String, Failure> {
        let mut watches = self.lock();
        watches.retain(|_, watch| now.saturating_duration_since(watch.asked) < FORGOTTEN_AFTER);
        if watches.len() >= FILTERS_MAX {
            return Err(Failure::refused(format!(
                "{FILTERS_MAX} filters are open, which is the limit; uninstall some"
            )));
        }
        let id = format!("0x{}", hex::encode(entropy::bytes::<16>()));
        let watch = Watch {
            watched,
            told,
            asked: now,
        };
        watches.insert(id.clone(), watch);
        Ok(id)
    }

    /// Looks at a filter that somebody asks for.
    fn ask<T>(&self, id: &str, now: Instant, look: impl FnOnce(&mut Watch) -> T) -> Result<T, Failure> {
        let mut watches = self.lock();
        let watch = watches.get_mut(id).ok_or_else(not_found)?;
        watch.asked = now;
        Ok(look(watch))
    }
}

fn not_found() -> Failure {
    Failure::refused("filter not found")
}

/// What a filter has to be asked.
enum Question {
    Blocks { above: u64 },
    Logs { above: u64, filter: Box<Filter> },
    Waiting { hashes: Vec<TxHash>, full: bool },
}

#[async_trait]
impl EthFiltersServer for Rpc {
    async fn new_filter(&self, filter: Filter) -> Result<String, Failure> {
        let told = self.head().height.0;
        self.watches.add(Watched::Logs(Box::new(filter)), told, Instant::now())
    }

    async fn new_block_filter(&self) -> Result<String, Failure> {
        self.watches.add(Watched::Blocks, self.head().height.0, Instant::now())
    }

    async fn new_pending_filter(&self, full: Option<bool>) -> Result<String, Failure> {
        let watched = Watched::Waiting {
            accepted: self.ground.accepted(),
            full: full.unwrap_or(false),
        };
        self.watches.add(watched, self.head().height.0, Instant::now())
    }

    async fn changes(&self, id: String) -> Result<FilterChanges, Failure> {
        let (head, most) = (self.head().height.0, self.log_blocks_max);
        // A filter that was not asked for long is told in parts.
        let question = self.watches.ask(&id, Instant::now(), |watch| {
            let above = watch.told;
            match &mut watch.watched {
                Watched::Waiting { accepted, full } => Question::Waiting {
                    hashes: drain(accepted),
                    full: *full,
                },
                Watched::Blocks => {
                    watch.told = head.min(above + most);
                    Question::Blocks { above }
                }
                Watched::Logs(filter) => {
                    watch.told = head.min(above + most);
                    Question::Logs {
                        above,
                        filter: filter.clone(),
                    }
                }
            }
        })?;
        match question {
            Question::Blocks { above } => {
                let names = move |shown: &Shown| {
                    let named = |height| Ok(shown.view.block_hash(height)?.map(|hash| B256::from(hash.0)));
                    let names = (above + 1..=head.min(above + most)).map(named);
                    names.filter_map(Result::transpose).collect::<Result<Vec<_>, Failure>>()
                };
                Ok(FilterChanges::Hashes(self.read(names).await?))
            }
            Question::Logs { above, filter } => {
                let found = move |shown: &Shown| {
                    let mut found = Vec::new();
                    for height in above + 1..=head.min(above + most) {
                        if covers(shown, &filter, height) {
                            found.extend(matching(shown, &filter, height)?);
                        }
                    }
                    Ok(found)
                };
                Ok(FilterChanges::Logs(self.work(found).await?))
            }
            Question::Waiting { hashes, full: false } => Ok(FilterChanges::Hashes(
                hashes.into_iter().map(|hash| B256::from(hash.0)).collect(),
            )),
            Question::Waiting { hashes, full: true } => {
                let mut waiting = Vec::new();
                for hash in hashes {
                    // One that was included meanwhile waits no longer.
                    waiting.extend(self.ground.pooled(hash).await?.map(|one| shape::waiting(&one)));
                }
                Ok(FilterChanges::Transactions(waiting))
            }
        }
    }

    async fn filter_logs(&self, id: String) -> Result<Vec<Log>, Failure> {
        let filter = self.watches.ask(&id, Instant::now(), |watch| match &watch.watched {
            Watched::Logs(filter) => Some(filter.clone()),
            Watched::Blocks | Watched::Waiting { .. } => None,
        })?;
        let filter = filter.ok_or_else(not_found)?;
        let (blocks_max, logs_max) = (self.log_blocks_max, self.logs_max);
        self.work(move |shown| {
            let (from, to) = range(shown, &filter, blocks_max)?;
            search(shown, &filter, from, to, logs_max)
        })
        .await
    }

    async fn uninstall(&self, id: String) -> Result<bool, Failure> {
        Ok(self.watches.lock().remove(&id).is_some())
    }
}

/// Whether a filter is about this block.
fn covers(shown: &Shown, filter: &Filter, height: u64) -> bool {
    match filter.block_option {
        FilterBlockOption::AtBlockHash(_) => false,
        FilterBlockOption::Range { from_block, to_block } => {
            // A tag means whatever is newest when it is asked.
            let bound = |block: Option<alloy_eips::BlockNumberOrTag>, open: u64| {
                block
                    .filter(|block| block.is_number() || block.is_earliest())
                    .map_or(open, |block| shown.number(block))
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
    fn a_filter_is_forgotten_when_nobody_asks() {
        let (watches, start) = (Watches::default(), Instant::now());
        let old = watches.add(Watched::Blocks, 7, start).unwrap();
        let asked = watches.add(Watched::Blocks, 7, start).unwrap();
        let later = start + FORGOTTEN_AFTER - Duration::from_secs(1);
        assert_eq!(watches.ask(&asked, later, |watch| watch.told), Ok(7));
        watches.add(Watched::Blocks, 7, start + FORGOTTEN_AFTER).unwrap();
        assert_eq!(watches.ask(&old, later, |watch| watch.told), Err(not_found()));
        assert_eq!(watches.ask(&asked, later, |watch| watch.told), Ok(7));
    }

    #[test]
    fn there_is_room_for_so_many_filters_and_no_more() {
        let (watches, now) = (Watches::default(), Instant::now());
        for _ in 0..FILTERS_MAX {
            watches.add(Watched::Blocks, 0, now).unwrap();
        }
        let why = watches.add(Watched::Blocks, 0, now).unwrap_err();
        assert!(why.to_string().contains("4096 filters are open"), "{why}");
    }
}
