//! The storage tries that are kept in memory between blocks, one version per account.
//!
//! A trie in here has no source: a snapshot that opens it reads what is missing with its own eyes.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use alloy_primitives::{B256, map::B256Map};

use crate::trie::{NoNodes, NodeSource, Trie};

/// Storage tries by keccak of the address.
#[derive(Debug, Default)]
pub(super) struct StorageTries(RwLock<B256Map<Kept>>);

#[derive(Debug)]
struct Kept {
    trie: Trie,
    root: B256,
    /// The height whose state it is part of.
    height: u64,
    /// The last height at which it was opened.
    used: AtomicU64,
}

impl StorageTries {
    /// The trie of `owner` with this root, as a snapshot of `height` reads it.
    pub(super) fn open(&self, owner: B256, root: B256, height: u64, source: Arc<dyn NodeSource>) -> Trie {
        if let Some(kept) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&owner)
            && kept.root == root
        {
            kept.used.fetch_max(height, Ordering::Relaxed);
            return kept.trie.over(source);
        }
        let trie = Trie::from_root(root, source);
        self.keep(owner, &trie, height);
        trie
    }

    /// Keeps a version, unless that of a later block is kept already.
    pub(super) fn keep(&self, owner: B256, trie: &Trie, height: u64) {
        let mut tries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if tries.get(&owner).is_some_and(|kept| kept.height > height) {
            return;
        }
        if trie.is_empty() {
            tries.remove(&owner);
            return;
        }
        let kept = Kept {
            trie: trie.over(Arc::new(NoNodes)),
            root: trie.root(),
            height,
            used: AtomicU64::new(height),
        };
        tries.insert(owner, kept);
    }

    /// Drops nodes until at most `nodes_max` are in memory: whole tries, the longest unused first, and the deep nodes of
    /// the last one. Called between blocks, when the source has every node.
    pub(super) fn shrink_to(&self, nodes_max: usize) {
        let mut tries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let held: usize = tries.values().map(|kept| kept.trie.held()).sum();
        if held <= nodes_max {
            return;
        }
        let mut by_use: Vec<(u64, B256)> = tries
            .iter()
            .map(|(owner, kept)| (kept.used.load(Ordering::Relaxed), *owner))
            .collect();
        by_use.sort_unstable();
        // Half, so that this does not run again at the next block.
        let mut room = nodes_max / 2;
        while let Some((_, owner)) = by_use.pop() {
            let Some(kept) = tries.get_mut(&owner) else { continue };
            if kept.trie.held() > room {
                kept.trie = kept.trie.shrink_to(room);
            }
            room -= kept.trie.held();
            if room == 0 {
                break;
            }
        }
        for (_, owner) in by_use {
            tries.remove(&owner);
        }
    }
}
