//! Adapters in memory, by content. Of those that nobody uses, the one asked for longest ago goes first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use compute::lora::{Adapter, AdapterHash};

#[derive(Debug)]
struct Kept {
    adapter: Arc<Adapter>,
    bytes: u64,
    asked: u64,
}

#[derive(Debug, Default)]
pub(super) struct Host {
    kept: HashMap<AdapterHash, Kept>,
    by_age: BTreeMap<u64, AdapterHash>,
    bytes: u64,
    clock: u64,
    evictions: u64,
}

impl Host {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }

    pub(super) fn has(&self, hash: AdapterHash) -> bool {
        self.kept.contains_key(&hash)
    }

    pub(super) fn get(&mut self, hash: AdapterHash) -> Option<Arc<Adapter>> {
        self.clock += 1;
        let kept = self.kept.get_mut(&hash)?;
        self.by_age.remove(&kept.asked);
        kept.asked = self.clock;
        self.by_age.insert(kept.asked, hash);
        Some(Arc::clone(&kept.adapter))
    }

    /// Keeps an adapter; the one there already if two came with the same content.
    pub(super) fn put(&mut self, adapter: Adapter) -> Arc<Adapter> {
        let hash = adapter.hash();
        if let Some(there) = self.get(hash) {
            return there;
        }
        let kept = Kept {
            bytes: adapter.bytes(),
            adapter: Arc::new(adapter),
            asked: self.clock,
        };
        let adapter = Arc::clone(&kept.adapter);
        self.bytes += kept.bytes;
        self.by_age.insert(kept.asked, hash);
        self.kept.insert(hash, kept);
        adapter
    }

    /// Gives up the oldest until no more than `bytes_max` are taken. What is in use stays: giving it up frees nothing.
    /// What is returned is for whoever has time to give memory back.
    #[must_use]
    pub(super) fn trim(&mut self, bytes_max: u64, pinned: impl Fn(AdapterHash) -> bool) -> Vec<Arc<Adapter>> {
        if self.bytes <= bytes_max {
            return Vec::new();
        }
        let mut left = self.bytes;
        let mut gone = Vec::new();
        for (asked, hash) in &self.by_age {
            if left <= bytes_max {
                break;
            }
            let kept = &self.kept[hash];
            if Arc::strong_count(&kept.adapter) == 1 && !pinned(*hash) {
                left -= kept.bytes;
                gone.push((*asked, *hash));
            }
        }
        self.bytes = left;
        self.evictions += gone.len() as u64;
        let give_up = |(asked, hash)| {
            self.by_age.remove(&asked);
            self.kept.remove(&hash).map(|kept| kept.adapter)
        };
        gone.into_iter().filter_map(give_up).collect()
    }
}
