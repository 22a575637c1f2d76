//! Reading states from other threads while the chain thread writes: the tip, and every height in the window.

use std::sync::{Arc, PoisonError, RwLock};

use alloy_primitives::B256;

use super::{
    Kv, KvError, WorldState,
    history::{History, View},
    layout::Applied,
};

/// Why there is no state of a height.
#[derive(Debug, thiserror::Error)]
pub enum AtError {
    /// It fell out of the window.
    #[error("the state of height {height} is pruned; {oldest} is the oldest that is kept")]
    Pruned {
        /// The height that was asked for.
        height: u64,
        /// The oldest that is kept.
        oldest: u64,
    },
    /// No such block was committed.
    #[error("height {0} is not committed")]
    Unknown(u64),
    /// The database failed.
    #[error("could not find the state of height {height}")]
    Database {
        /// The height that was asked for.
        height: u64,
        /// Why.
        #[source]
        source: KvError,
    },
}

/// Reads the tip and old heights from any thread.
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

    /// The state after an older block. It stays readable until the height falls out of the window.
    pub fn at(&self, height: u64) -> Result<WorldState, AtError> {
        let tip = self.tip();
        if tip.height() == Some(height) {
            return Ok(tip);
        }
        if tip.height().is_none_or(|tip| height > tip) {
            return Err(AtError::Unknown(height));
        }
        let oldest = self.history.recent().oldest;
        if height < oldest {
            return Err(AtError::Pruned { height, oldest });
        }
        let root = self
            .history
            .root_at(height)
            .map_err(|source| AtError::Database { height, source })?;
        // A root that went away between the two reads was pruned.
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

    /// What the database holds; `None` before the first flush.
    pub fn applied(&self) -> Option<Applied> {
        self.history.recent().applied
    }

    /// The oldest height that [`StateReader::at`] can open.
    pub fn oldest(&self) -> u64 {
        self.history.recent().oldest
    }
}

/// The state with this root, its rows read as of `height`.
pub(super) fn open<K: Kv>(history: &Arc<History<K>>, root: B256, height: u64) -> WorldState {
    WorldState::open(
        root,
        Some(height),
        Arc::new(View {
            history: history.clone(),
            height,
        }),
    )
}
