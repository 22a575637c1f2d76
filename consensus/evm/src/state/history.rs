//! Rows as of a height: unflushed blocks in memory, the database, and undo rows for older heights.
//!
//! A node as of height `h` is the value that the first later block with a change to it replaced; if there is none,
//! it is the present value. Reading and committing exclude each other; reading and flushing do not. Until the batch
//! is in the database readers find the unflushed blocks in memory, and afterwards both say the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::Nibbles;
use revm::bytecode::Bytecode;

use super::{
    Kv, KvError, Rows, StateError,
    layout::{Applied, CHUNK_LEN, caller_key, code_key, node_key, root_key, undo_key},
};
use crate::trie::SourceError;

/// Bytes of analysed code kept in memory. At the bound all of it is dropped.
const CODES_HELD_MAX: usize = 32 << 20;

/// More chunks than any code has. Bounds a read of damaged rows.
const CODE_CHUNKS_MAX: u32 = 64;

/// The database and the blocks that are not flushed to it yet.
#[derive(Debug)]
pub(super) struct History<K> {
    pub(super) kv: K,
    unflushed: RwLock<Unflushed>,
    codes: RwLock<BTreeMap<B256, Bytecode>>,
}

/// Committed blocks that are not in the database, and the position of the database.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    pub(super) applied: Option<Applied>,
    /// The oldest readable height.
    pub(super) oldest: u64,
    /// By node key; versions in ascending order of heights.
    pub(super) versions: BTreeMap<Vec<u8>, Vec<Version>>,
    pub(super) blocks: BTreeMap<u64, Block>,
    pub(super) codes: BTreeMap<B256, Bytecode>,
    /// The caller's rows, by their full keys.
    pub(super) rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// The change that one block made to one node.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) height: u64,
    pub(super) old: Option<Bytes>,
    pub(super) new: Option<Bytes>,
}

/// A block that is not flushed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) hash: B256,
    pub(super) root: B256,
}

/// Reason that a node cannot be read as of a height.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the state of height {height} is pruned; {oldest} is the oldest that is kept")]
    Pruned { height: u64, oldest: u64 },
    #[error(transparent)]
    Database(#[from] KvError),
}

impl<K: Kv> History<K> {
    pub(super) fn new(kv: K, applied: Option<Applied>) -> Self {
        let oldest = applied.map_or(0, |applied| applied.oldest);
        let unflushed = Unflushed {
            applied,
            oldest,
            ..Unflushed::default()
        };
        Self {
            kv,
            unflushed: RwLock::new(unflushed),
            codes: RwLock::default(),
        }
    }

    pub(super) fn unflushed(&self) -> RwLockReadGuard<'_, Unflushed> {
        self.unflushed.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unflushed_mut(&self) -> RwLockWriteGuard<'_, Unflushed> {
        self.unflushed.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state root after a height, if it is stored.
    pub(super) fn root_at(&self, height: u64) -> Result<Option<B256>, KvError> {
        let unflushed = self.unflushed();
        if let Some(block) = unflushed.blocks.get(&height) {
            return Ok(Some(block.root));
        }
        let row = self.kv.get(&root_key(height))?;
        Ok(row.and_then(|row| B256::try_from(&row[..]).ok()))
    }

    /// A row of the caller.
    pub(super) fn caller_row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let (key, unflushed) = (caller_key(key), self.unflushed());
        match unflushed.rows.get(&key) {
            Some(row) => Ok(row.clone()),
            None => self.kv.get(&key),
        }
    }

    fn node_at(&self, key: &[u8], height: u64) -> Result<Option<Bytes>, ReadError> {
        // The lock is held to the end: a flush may finish at any moment, but not between two of these reads.
        let unflushed = self.unflushed();
        if height < unflushed.oldest {
            return Err(ReadError::Pruned {
                height,
                oldest: unflushed.oldest,
            });
        }
        if unflushed.applied.is_some_and(|applied| height < applied.height) {
            let (from, below) = (undo_key(key, height + 1), undo_key(key, u64::MAX));
            if let Some((_, old)) = self.kv.first_at_or_after(&from, &below)? {
                return Ok((!old.is_empty()).then(|| old.into()));
            }
        }
        if let Some(versions) = unflushed.versions.get(key) {
            let last = versions.last().expect("a node with versions has one");
            let later = versions.iter().find(|version| version.height > height);
            return Ok(later.map_or(&last.new, |later| &later.old).clone());
        }
        Ok(self.kv.get(key)?.map(Bytes::from))
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytecode>, StateError> {
        if let Some(code) = self.codes.read().unwrap_or_else(PoisonError::into_inner).get(hash) {
            return Ok(Some(code.clone()));
        }
        let unflushed = self.unflushed().codes.get(hash).cloned();
        let Some(code) = unflushed.map_or_else(|| self.stored_code(hash), |code| Ok(Some(code)))? else {
            return Ok(None);
        };
        let mut codes = self.codes.write().unwrap_or_else(PoisonError::into_inner);
        // Dropping all is crude and enough: code in use is loaded again at once.
        if codes.values().map(Bytecode::len).sum::<usize>() + code.len() > CODES_HELD_MAX {
            codes.clear();
        }
        codes.insert(*hash, code.clone());
        Ok(Some(code))
    }

    fn stored_code(&self, hash: &B256) -> Result<Option<Bytecode>, StateError> {
        let mut code = Vec::new();
        for chunk in 0..CODE_CHUNKS_MAX {
            let row = self.kv.get(&code_key(hash, chunk));
            let row = row.map_err(|source| StateError::Database { hash: *hash, source })?;
            let Some(row) = row else {
                if chunk == 0 {
                    return Ok(None);
                }
                break;
            };
            code.extend_from_slice(&row);
            if row.len() < CHUNK_LEN {
                break;
            }
        }
        if keccak256(&code) != *hash {
            return Err(StateError::Code(*hash));
        }
        let code = Bytes::from(code);
        // Genesis may contain bytes that look like an EIP-7702 delegation and are none.
        Ok(Some(
            Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code)),
        ))
    }
}

/// The rows as they were after one block.
#[derive(Debug)]
pub(super) struct RowsAt<K> {
    pub(super) history: Arc<History<K>>,
    pub(super) height: u64,
}

impl<K: Kv> Rows for RowsAt<K> {
    fn node(&self, owner: Option<&B256>, path: &Nibbles) -> Result<Option<Bytes>, SourceError> {
        Ok(self.history.node_at(&node_key(owner, path), self.height)?)
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytecode>, StateError> {
        self.history.code(hash)
    }
}
