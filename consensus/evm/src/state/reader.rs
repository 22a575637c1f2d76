//! Reads states from other threads while the chain thread commits: the tip, and every height in the history window.

use std::sync::{Arc, PoisonError, RwLock};

use alloy_primitives::B256;

use super::{
    Kv, KvError, WorldState,
    history::{History, RowsAt},
    layout::Applied,
};

/// Reason that the state of a height cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AtError {
    /// The height is below the history window.
    #[error("the state of height {height} is pruned; {oldest} is the oldest that is kept")]
    Pruned { height: u64, oldest: u64 },
    #[error("height {0} is not committed")]
    Unknown(u64),
    #[error("could not find the state of height {height}")]
    Database {
        height: u64,
        #[source]
        source: KvError,
    },
}

/// A handle to read the tip and older heights from any thread.
#[derive(Debug)]
pub struct StateReader<K> {
    pub(super) history: Arc<History<K>>,
    pub(super) tip: Arc<RwLock<WorldState>>,
}

impl<K> Clone for StateReader<K> {
    fn clone(&self) -> Self {
        Self {
            history: self.history.clone(),
            tip: self.tip.clone(),
        }
    }
}

impl<K: Kv> StateReader<K> {
    /// The state of the last committed block; the empty state before the first.
    pub fn tip(&self) -> WorldState {
        self.tip.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state after an older block. It stays readable until its height falls out of the history window.
    pub fn at(&self, height: u64) -> Result<WorldState, AtError> {
        let tip = self.tip();
        if tip.height() == Some(height) {
            return Ok(tip);
        }
        if tip.height().is_none_or(|tip| height > tip) {
            return Err(AtError::Unknown(height));
        }
        let oldest = self.history.unflushed().oldest;
        if height < oldest {
            return Err(AtError::Pruned { height, oldest });
        }
        let root = self
            .history
            .root_at(height)
            .map_err(|source| AtError::Database { height, source })?;
        // A root that disappeared between the two reads was pruned.
        let root = root.ok_or(AtError::Pruned {
            height,
            oldest: oldest.max(height + 1),
        })?;
        Ok(open(&self.history, root, height))
    }

    /// A row that the caller committed with a block.
    pub fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.history.caller_row(key)
    }

    /// The block whose state the database contains; `None` before the first flush.
    pub fn applied(&self) -> Option<Applied> {
        self.history.unflushed().applied
    }

    /// The oldest height that [`StateReader::at`] can open. It rises with flushes, as heights leave the history
    /// window.
    pub fn oldest(&self) -> u64 {
        self.history.unflushed().oldest
    }
}

/// The state with this root, its rows read as of `height`.
pub(super) fn open<K: Kv>(history: &Arc<History<K>>, root: B256, height: u64) -> WorldState {
    WorldState::open(
        root,
        Some(height),
        Arc::new(RowsAt {
            history: history.clone(),
            height,
        }),
    )
}
