//! Stores states: commits blocks in memory, flushes many of them as one batch, and prunes heights that leave the
//! history window.
//!
//! A commit is visible to readers at once and is not durable. A flush gives the database one batch, which is
//! applied completely or not at all. After a crash the database is at [`Applied::height`], and the caller executes
//! the blocks above it again. One [`StateStore`] writes; any number of [`StateReader`]s read.

use std::sync::{Arc, PoisonError, RwLock};

use alloy_primitives::B256;
use alloy_trie::EMPTY_ROOT_HASH;

use super::{
    AtError, Kv, KvError, Row, StateError, StateReader, TrieRows, WorldState,
    flush::plan,
    history::{Block, History, Unflushed, Version},
    layout::{APPLIED_KEY, Applied, caller_key, node_key},
    reader::open,
};
use crate::trie::{Change, NodeError, diff};

/// Limits of a store: how far back states can be read, and how many nodes stay in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Heights below the tip that stay readable. `None` keeps all.
    pub history: Option<u64>,
    /// Most trie nodes in memory, at roughly 300 bytes each.
    pub nodes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history: Some(256),
            nodes_max: 1_000_000,
        }
    }
}

/// A block by height and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockId {
    pub height: u64,
    pub hash: B256,
}

/// Reason that a state database cannot be opened. The database is a cache: it can be moved aside and
/// rebuilt from the block log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("could not open the state database")]
    Database(#[from] KvError),
    /// The database has another format or is damaged.
    #[error("the state database has an unknown format; move it aside and it is rebuilt from the block log")]
    Format,
    /// The state root that it claims cannot be read.
    #[error("the state of height {height} is not whole; move the database aside and it is rebuilt from the block log")]
    Root {
        height: u64,
        #[source]
        source: NodeError,
    },
}

/// Reason that a block cannot be committed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("block {height} cannot follow block {tip}")]
    Height { height: u64, tip: u64 },
    /// The state was not applied to the tip's.
    #[error("the state was applied to {parent}, the tip is {tip}")]
    Parent { parent: B256, tip: B256 },
    /// The nodes that the block replaces cannot be read.
    #[error("could not read what block {height} replaces")]
    State {
        height: u64,
        #[source]
        source: StateError,
    },
}

/// A flush that failed. The blocks stay in memory, and the next flush tries again.
#[derive(Debug, thiserror::Error)]
#[error("could not flush the state of height {height}")]
pub struct FlushError {
    /// The height of the block up to which the flush would have written.
    pub height: u64,
    #[source]
    pub source: KvError,
}

/// The writing end of the state database: commits and flushes.
#[derive(Debug)]
pub struct StateStore<K> {
    reader: StateReader<K>,
    options: Options,
}

impl<K: Kv> StateStore<K> {
    /// Opens a database that is empty or was written by an earlier store.
    pub fn open(kv: K, options: Options) -> Result<Self, OpenError> {
        let applied = kv
            .get(APPLIED_KEY)?
            .map(|row| Applied::decode(&row).ok_or(OpenError::Format))
            .transpose()?;
        let history = Arc::new(History::new(kv, applied));
        let tip = match applied {
            Some(applied) => open(&history, applied.root, applied.height),
            None => WorldState {
                committed: None,
                ..open(&history, EMPTY_ROOT_HASH, 0)
            },
        };
        // Any key loads the root node, so a missing root is found now and not within a block.
        if let Some(Applied { height, .. }) = applied {
            tip.accounts
                .get(&[0; 32])
                .map_err(|source| OpenError::Root { height, source })?;
        }
        let reader = StateReader {
            history,
            tip: Arc::new(RwLock::new(tip)),
        };
        Ok(Self { reader, options })
    }

    /// A handle that reads from other threads. It follows the store: its tip is always the last committed state.
    pub fn reader(&self) -> StateReader<K> {
        self.reader.clone()
    }

    /// See [`StateReader::tip`].
    pub fn tip(&self) -> WorldState {
        self.reader.tip()
    }

    /// See [`StateReader::at`].
    pub fn at(&self, height: u64) -> Result<WorldState, AtError> {
        self.reader.at(height)
    }

    /// See [`StateReader::applied`].
    pub fn applied(&self) -> Option<Applied> {
        self.reader.applied()
    }

    /// Committed blocks that the next flush writes. They take memory until then.
    pub fn unflushed(&self) -> usize {
        self.reader.history.unflushed().blocks.len()
    }

    /// Makes `state`, which was applied to the tip, the new tip. The first block may have any height.
    ///
    /// `rows` are the caller's own. They are written in the same batch as the block, and [`StateReader::row`] reads
    /// them.
    pub fn commit(&mut self, state: &WorldState, block: BlockId, rows: Vec<Row>) -> Result<WorldState, CommitError> {
        let (tip, BlockId { height, hash }) = (self.tip(), block);
        match tip.height() {
            Some(tip) if tip.checked_add(1) != Some(height) => return Err(CommitError::Height { height, tip }),
            Some(_) | None => (),
        }
        // Otherwise the undo rows would restore nodes of a state that never was the tip.
        if state.parent != tip.root() {
            return Err(CommitError::Parent {
                parent: state.parent,
                tip: tip.root(),
            });
        }
        let versions = changes(&tip, state, height).map_err(|source| CommitError::State { height, source })?;

        let mut unflushed = self.reader.history.unflushed_mut();
        if tip.height().is_none() {
            unflushed.oldest = height;
        }
        for (key, version) in versions {
            unflushed.versions.entry(key).or_default().push(version);
        }
        unflushed.blocks.insert(
            height,
            Block {
                hash,
                root: state.root(),
            },
        );
        unflushed
            .codes
            .extend(state.codes.iter().map(|(hash, code)| (*hash, code.clone())));
        unflushed
            .rows
            .extend(rows.into_iter().map(|(key, value)| (caller_key(&key), value)));
        drop(unflushed);

        let committed = self.as_committed(state, height);
        *self.reader.tip.write().unwrap_or_else(PoisonError::into_inner) = committed.clone();
        Ok(committed)
    }

    /// `state` as a committed one: no changes of its own, readable as of its height, within the memory bound.
    fn as_committed(&self, state: &WorldState, height: u64) -> WorldState {
        let mut committed = open(&self.reader.history, state.root(), height);
        let source = Arc::new(TrieRows {
            rows: committed.rows.clone(),
            owner: None,
        });
        committed.accounts = state.accounts.with_source(source);
        committed.tries = state.tries.clone();
        for (owner, trie) in state.changed.iter() {
            committed.tries.insert(*owner, trie, height);
        }
        let nodes_max = self.options.nodes_max / 2;
        committed.tries.shrink_to(nodes_max);
        if committed.accounts.nodes_in_memory() > nodes_max {
            committed.accounts = committed.accounts.shrink_to(nodes_max / 2);
        }
        committed
    }

    /// Writes all committed blocks as one batch, and deletes what fell out of the history window.
    pub fn flush(&mut self) -> Result<Option<Applied>, FlushError> {
        let history = &self.reader.history;
        let Some((applied, batch)) = plan(history, self.options.history).map_err(|source| FlushError {
            height: self.tip_height(),
            source,
        })?
        else {
            return Ok(self.applied());
        };
        // A height stops being readable before its rows are deleted.
        history.unflushed_mut().oldest = applied.oldest;
        history.kv.apply(batch).map_err(|source| FlushError {
            height: applied.height,
            source,
        })?;
        *history.unflushed_mut() = Unflushed {
            applied: Some(applied),
            oldest: applied.oldest,
            ..Unflushed::default()
        };
        Ok(Some(applied))
    }

    fn tip_height(&self) -> u64 {
        self.tip().height().unwrap_or(0)
    }
}

/// The nodes in which `state` differs from `tip`, with the storage of destroyed accounts.
fn changes(tip: &WorldState, state: &WorldState, height: u64) -> Result<Vec<(Vec<u8>, Version)>, StateError> {
    let mut versions = Vec::new();
    let mut push = |owner: Option<&B256>, changes: Vec<Change>| {
        versions.extend(changes.into_iter().map(|change| {
            (
                node_key(owner, &change.path),
                Version {
                    height,
                    old: change.old,
                    new: change.new,
                },
            )
        }));
    };
    push(
        None,
        diff(&tip.accounts, &state.accounts).map_err(StateError::Accounts)?,
    );
    for (owner, trie) in state.changed.iter() {
        let root = tip
            .account_at(owner)?
            .map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
        let old = tip.storage_trie(*owner, root);
        let changes = diff(&old, trie).map_err(|source| StateError::Storage { owner: *owner, source })?;
        push(Some(owner), changes);
    }
    Ok(versions)
}
