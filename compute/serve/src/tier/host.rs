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
    used: u64,
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
        let entry = self.entries.get_mut(&hash)?;
        self.by_age.remove(&entry.used);
        entry.used = self.clock;
        self.by_age.insert(entry.used, hash);
        Some(Arc::clone(&entry.adapter))
    }

    /// Stores an adapter. If its content is already here, returns that one.
    pub(super) fn put(&mut self, adapter: Adapter) -> Arc<Adapter> {
        let hash = adapter.hash();
        if let Some(there) = self.get(hash) {
            return there;
        }
        let entry = Entry {
            bytes: adapter.bytes(),
            adapter: Arc::new(adapter),
            used: self.clock,
        };
        let adapter = Arc::clone(&entry.adapter);
        self.bytes += entry.bytes;
        self.by_age.insert(entry.used, hash);
        self.entries.insert(hash, entry);
        adapter
    }

    /// Evicts the least recently used until at most `bytes_max` are taken. Adapters in use stay, because dropping them
    /// here would free nothing. The caller drops the returned ones where that may take time.
    #[must_use]
    pub(super) fn trim(&mut self, bytes_max: u64, pinned: impl Fn(AdapterHash) -> bool) -> Vec<Arc<Adapter>> {
        if self.bytes <= bytes_max {
            return Vec::new();
        }
        let mut left = self.bytes;
        let mut evicted = Vec::new();
        for (used, hash) in &self.by_age {
            if left <= bytes_max {
                break;
            }
            let entry = &self.entries[hash];
            if Arc::strong_count(&entry.adapter) == 1 && !pinned(*hash) {
                left -= entry.bytes;
                evicted.push((*used, *hash));
            }
        }
        self.bytes = left;
        self.evictions += evicted.len() as u64;
        let remove = |(used, hash)| {
            self.by_age.remove(&used);
            self.entries.remove(&hash).map(|entry| entry.adapter)
        };
        evicted.into_iter().filter_map(remove).collect()
    }
}
