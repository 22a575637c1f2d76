//! Makes states last: commits blocks in memory, flushes many of them as one batch, prunes what falls out of the window.
//!
//! A commit is visible to readers at once and durable never; a flush hands the database one batch that is wholly there or
//! not at all. After a crash the database is at [`Applied::height`] and the caller executes the blocks above it again.
//! There is one [`StateStore`], which writes, and any number of [`StateReader`]s.

use std::sync::{Arc, PoisonError, RwLock};

use alloy_primitives::B256;
use alloy_trie::EMPTY_ROOT_HASH;

use super::{
    AtError, Kv, KvError, Row, StateError, StateReader, TrieRows, WorldState,
    flush::plan,
    history::{Block, History, Recent, Version},
    layout::{APPLIED_KEY, Applied, caller_key, node_key},
    reader::open,
};
use crate::trie::{Change, NodeError, diff};

/// What a store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many heights below the tip stay readable; `None` keeps all of them.
    pub history: Option<u64>,
    /// How many trie nodes stay in memory, roughly 300 bytes each.
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
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: B256,
}

/// Why a state database cannot be opened. It is a cache: move it aside and rebuild it from the block log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database failed.
    #[error("could not open the state database")]
    Database(#[from] KvError),
    /// Its format is another one, or it is damaged.
    #[error("the state database has an unknown format; move it aside and it is rebuilt from the block log")]
    Format,
    /// Its state root is not there.
    #[error("the state of height {height} is not whole; move the database aside and it is rebuilt from the block log")]
    Root {
        /// The height it claims to be at.
        height: u64,
        /// What is missing.
        #[source]
        source: NodeError,
    },
}

/// Why a block cannot be committed. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Blocks are committed one after the other.
    #[error("block {height} cannot follow block {tip}")]
    Height {
        /// The height of the block.
        height: u64,
        /// The height of the tip.
        tip: u64,
    },
    /// The state was not made from the tip's.
    #[error("the state was applied to {parent}, the tip is {tip}")]
    Parent {
        /// The state root it was applied to.
        parent: B256,
        /// The state root of the tip.
        tip: B256,
    },
    /// What the block replaces cannot be read.
    #[error("could not tell what block {height} changes")]
    State {
        /// The height of the block.
        height: u64,
        /// Why.
        #[source]
        source: StateError,
    },
}

/// The batch was not written; the blocks stay in memory and the next flush tries again.
#[derive(Debug, thiserror::Error)]
#[error("could not flush the state of height {height}")]
pub struct FlushError {
    /// The height of the tip.
    pub height: u64,
    /// Why.
    #[source]
    pub source: KvError,
}

/// The one that commits and flushes.
#[derive(Debug)]
pub struct StateStore<K> {
    reader: StateReader<K>,
    options: Options,
}

impl<K: Kv> StateStore<K> {
    /// Opens a database, empty or written by an earlier store.
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

    /// A handle for other threads.
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

    /// How many committed blocks the next flush will write.
    pub fn unflushed(&self) -> usize {
        self.reader.history.recent().blocks.len()
    }

    /// Makes `state`, which was applied to the tip, the tip. The first block may have any height.
    ///
    /// `rows` are the caller's own, written in the batch of this block and read by [`StateReader::row`].
    pub fn commit(&mut self, state: &WorldState, block: BlockId, rows: Vec<Row>) -> Result<WorldState, CommitError> {
        let (tip, BlockId { height, hash }) = (self.tip(), block);
        match tip.height() {
            Some(tip) if tip.checked_add(1) != Some(height) => return Err(CommitError::Height { height, tip }),
            Some(_) | None => (),
        }
        if state.parent != tip.root() {
            return Err(CommitError::Parent {
                parent: state.parent,
                tip: tip.root(),
            });
        }
        let versions = changes(&tip, state, height).map_err(|source| CommitError::State { height, source })?;

        let mut recent = self.reader.history.recent_mut();
        if tip.height().is_none() {
            recent.oldest = height;
        }
        for (key, version) in versions {
            recent.versions.entry(key).or_default().push(version);
        }
        recent.blocks.insert(
            height,
            Block {
                hash,
                root: state.root(),
            },
        );
        recent
            .codes
            .extend(state.codes.iter().map(|(hash, code)| (*hash, code.clone())));
        recent
            .rows
            .extend(rows.into_iter().map(|(key, value)| (caller_key(&key), value)));
        drop(recent);

        let committed = self.settle(state, height);
        *self.reader.tip.write().unwrap_or_else(PoisonError::into_inner) = committed.clone();
        Ok(committed)
    }

    /// `state` as a committed one: nothing pending, everything readable as of its height, memory within its bound.
    fn settle(&self, state: &WorldState, height: u64) -> WorldState {
        let mut settled = open(&self.reader.history, state.root(), height);
        let source = Arc::new(TrieRows {
            rows: settled.rows.clone(),
            owner: None,
        });
        settled.accounts = state.accounts.over(source);
        settled.tries = state.tries.clone();
        for (owner, trie) in state.changed.iter() {
            settled.tries.keep(*owner, trie, height);
        }
        let nodes_max = self.options.nodes_max / 2;
        settled.tries.shrink_to(nodes_max);
        if settled.accounts.held() > nodes_max {
            settled.accounts = settled.accounts.shrink_to(nodes_max / 2);
        }
        settled
    }

    /// Writes all committed blocks as one batch and deletes what fell out of the window.
    pub fn flush(&mut self) -> Result<Option<Applied>, FlushError> {
        let history = &self.reader.history;
        let Some((applied, batch)) = plan(history, self.options.history).map_err(|source| FlushError {
            height: self.tip_height(),
            source,
        })?
        else {
            return Ok(self.applied());
        };
        // Before its rows go away a height stops being readable.
        history.recent_mut().oldest = applied.oldest;
        history.kv.apply(batch).map_err(|source| FlushError {
            height: applied.height,
            source,
        })?;
        *history.recent_mut() = Recent {
            applied: Some(applied),
            oldest: applied.oldest,
            ..Recent::default()
        };
        Ok(Some(applied))
    }

    fn tip_height(&self) -> u64 {
        self.tip().height().unwrap_or(0)
    }
}

/// The nodes in which `state` differs from `tip`, storage of destroyed accounts included.
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
