//! Storage tries kept in memory between blocks, one version per account.
//!
//! A cached trie has no source of its own. A snapshot that opens it reads missing nodes as of its own height.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use alloy_primitives::{B256, map::B256Map};

use crate::trie::{NoNodes, NodeSource, Trie};

/// Storage tries by the keccak hash of the address.
#[derive(Debug, Default)]
pub(super) struct StorageTries(RwLock<B256Map<CachedTrie>>);

#[derive(Debug)]
struct CachedTrie {
    trie: Trie,
    root: B256,
    /// The height of the state that the trie is part of.
    height: u64,
    /// The last height that opened the trie.
    used: AtomicU64,
}

impl StorageTries {
    /// The trie of `owner` with this root, as a snapshot of `height` reads it.
    pub(super) fn open(&self, owner: B256, root: B256, height: u64, source: Arc<dyn NodeSource>) -> Trie {
        if let Some(cached) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&owner)
            && cached.root == root
        {
            cached.used.fetch_max(height, Ordering::Relaxed);
            return cached.trie.with_source(source);
        }
        let trie = Trie::from_root(root, source);
        self.insert(owner, &trie, height);
        trie
    }

    /// Caches a version, unless that of a later block is cached already.
    pub(super) fn insert(&self, owner: B256, trie: &Trie, height: u64) {
        let mut tries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if tries.get(&owner).is_some_and(|cached| cached.height > height) {
            return;
        }
        if trie.is_empty() {
            tries.remove(&owner);
            return;
        }
        let cached = CachedTrie {
            trie: trie.with_source(Arc::new(NoNodes)),
            root: trie.root(),
            height,
            used: AtomicU64::new(height),
        };
        tries.insert(owner, cached);
    }

    /// Drops nodes until at most `nodes_max` are in memory: whole tries, the least recently used first, and the
    /// deep nodes of the last one. Called between blocks, when every node is stored.
    pub(super) fn shrink_to(&self, nodes_max: usize) {
        let mut tries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let in_memory: usize = tries.values().map(|cached| cached.trie.nodes_in_memory()).sum();
        if in_memory <= nodes_max {
            return;
        }
        let mut by_use: Vec<(u64, B256)> = tries
            .iter()
            .map(|(owner, cached)| (cached.used.load(Ordering::Relaxed), *owner))
            .collect();
        by_use.sort_unstable();
        // Down to half, so that this does not run again at the next block.
        let mut nodes_left = nodes_max / 2;
        while let Some((_, owner)) = by_use.pop() {
            let Some(cached) = tries.get_mut(&owner) else { continue };
            if cached.trie.nodes_in_memory() > nodes_left {
                cached.trie = cached.trie.shrink_to(nodes_left);
            }
            nodes_left -= cached.trie.nodes_in_memory();
            if nodes_left == 0 {
                break;
            }
        }
        for (_, owner) in by_use {
            tries.remove(&owner);
        }
    }
}
