//! Adapters in host memory, by content hash. Unused ones are evicted LRU.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use compute::lora::{Adapter, AdapterHash};

#[derive(Debug)]
struct Entry {
    adapter: Arc<Adapter>,
    bytes: u64,
    asked: u64,
}

#[derive(Debug, Default)]
pub(super) struct Host {
    entries: HashMap<AdapterHash, Entry>,
    by_age: BTreeMap<u64, AdapterHash>,
    bytes: u64,
    clock: u64,
    evictions: u64,
}

impl Host {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }

    pub(super) fn has(&self, hash: AdapterHash) -> bool {
        self.entries.contains_key(&hash)
    }

    pub(super) fn get(&mut self, hash: AdapterHash) -> Option<Arc<Adapter>> {
        self.clock += 1;
        let entries = self.entries.get_mut(&hash)?;
        self.by_age.remove(&entries.asked);
        entries.asked = self.clock;
        self.by_age.insert(entries.asked, hash);
        Some(Arc::clone(&entries.adapter))
    }

    /// Stores an adapter. If its content is already here, returns that one.
    pub(super) fn put(&mut self, adapter: Adapter) -> Arc<Adapter> {
        let hash = adapter.hash();
        if let Some(there) = self.get(hash) {
            return there;
        }
        let entries = Entry {
            bytes: adapter.bytes(),
            adapter: Arc::new(adapter),
            asked: self.clock,
        };
        let adapter = Arc::clone(&entries.adapter);
        self.bytes += entries.bytes;
        self.by_age.insert(entries.asked, hash);
        self.entries.insert(hash, entries);
        adapter
    }

    /// Evicts the least recently used until at most `bytes_max` are taken. Adapters in use stay, because dropping them here
    /// would free nothing. The caller drops the returned ones where that may take time.
    #[must_use]
    pub(super) fn trim(&mut self, bytes_max: u64, pinned: impl Fn(AdapterHash) -> bool) -> Vec<Arc<Adapter>> {
        if self.bytes <= bytes_max {
            return Vec::new();
        }
        let mut left = self.bytes;
        let mut evicted = Vec::new();
        for (asked, hash) in &self.by_age {
            if left <= bytes_max {
                break;
            }
            let entries = &self.entries[hash];
            if Arc::strong_count(&entries.adapter) == 1 && !pinned(*hash) {
                left -= entries.bytes;
                evicted.push((*asked, *hash));
            }
        }
        self.bytes = left;
        self.evictions += evicted.len() as u64;
        let give_up = |(asked, hash)| {
            self.by_age.remove(&asked);
            self.entries.remove(&hash).map(|entries| entries.adapter)
        };
        evicted.into_iter().filter_map(give_up).collect()
    }
}
