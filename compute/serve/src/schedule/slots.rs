//! The slots of the device and the adapters in them. Adapters in use are pinned; the others are evicted LRU.

use std::collections::{BTreeMap, BTreeSet};

use compute::{forward::AdapterSlot, lora::AdapterHash};

use super::{AdapterInfo, AdapterKey};

/// Registered names remembered per content; an adapter under a forgotten name is fetched again.
const KEYS_MAX: usize = 64;

#[derive(Debug, Default)]
struct Slot {
    held: Option<AdapterInfo>,
    /// Registered adapters with this content.
    keys: Vec<AdapterKey>,
    pins: u32,
    used: u64,
}

#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    by_hash: BTreeMap<AdapterHash, AdapterSlot>,
    by_key: BTreeMap<AdapterKey, AdapterSlot>,
    free: Vec<AdapterSlot>,
    /// WantedAdapter and unpinned slots, least recently used first.
    idle: BTreeSet<(u64, AdapterSlot)>,
    bytes: u64,
    idle_bytes: u64,
    bytes_max: u64,
    clock: u64,
    evicted: u64,
}

/// Result of placing a mix.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// One slot per wanted adapter, in the same order.
    pub slots: Vec<AdapterSlot>,
    /// Slots to empty first.
    pub unload: Vec<AdapterSlot>,
    /// Slots to fill then.
    pub load: Vec<(AdapterSlot, AdapterKey)>,
}

impl Slots {
    pub(super) fn new(slots: u32, bytes_max: u64) -> Self {
        Self {
            slots: (0..slots).map(|_| Slot::default()).collect(),
            by_hash: BTreeMap::new(),
            by_key: BTreeMap::new(),
            free: (0..slots).rev().map(AdapterSlot).collect(),
            idle: BTreeSet::new(),
            bytes: 0,
            idle_bytes: 0,
            bytes_max,
            clock: 0,
            evicted: 0,
        }
    }

    pub(super) fn resident(&self) -> usize {
        self.by_hash.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// AdapterInfo about this adapter, if it is in a slot.
    pub(super) fn info(&self, adapter: AdapterKey) -> Option<AdapterInfo> {
        let slot = self.by_key.get(&adapter)?;
        self.slots[slot.0 as usize].held
    }

    /// Bytes of the adapter in a slot; 0 if it is empty.
    pub(super) fn bytes(&self, slot: AdapterSlot) -> u64 {
        self.slots[slot.0 as usize].held.map_or(0, |info| info.bytes)
    }

    /// The slot this adapter is in.
    pub(super) fn find(&self, adapter: AdapterKey) -> Option<AdapterSlot> {
        self.by_key.get(&adapter).copied()
    }

    /// Pins all these adapters, loading at most `loads_max` that are missing. Returns `None`, and changes nothing, if they do
    /// not fit now.
    pub(super) fn place(&mut self, wanted: &[(AdapterKey, AdapterInfo)], loads_max: usize) -> Option<Placed> {
        // Residents first, so that making room for the others does not push them out.
        let resident: Vec<AdapterSlot> = wanted
            .iter()
            .filter_map(|(_, info)| self.by_hash.get(&info.hash).copied())
            .collect();
        for slot in &resident {
            self.pin(*slot);
        }
        let missing: BTreeMap<AdapterHash, AdapterInfo> = wanted
            .iter()
            .filter(|(_, info)| !self.by_hash.contains_key(&info.hash))
            .map(|(_, info)| (info.hash, *info))
            .collect();
        let bytes: u64 = missing.values().map(|info| info.bytes).sum();
        let fits = missing.len() <= loads_max.min(self.free.len() + self.idle.len())
            && self.bytes - self.idle_bytes + bytes <= self.bytes_max;
        if !fits {
            for slot in resident {
                self.unpin(slot);
            }
            return None;
        }
        let mut placed = Placed::default();
        for (adapter, info) in wanted {
            let slot = match self.by_hash.get(&info.hash) {
                // Pinned above, or just placed for the same mix under another name.
                Some(slot) => {
                    let slot = *slot;
                    if !resident.contains(&slot) {
                        self.pin(slot);
                    }
                    slot
                }
                None => self.bring(*adapter, *info, &mut placed),
            };
            if self.by_key.insert(*adapter, slot).is_none() {
                let keys = &mut self.slots[slot.0 as usize].keys;
                keys.push(*adapter);
                if keys.len() > KEYS_MAX {
                    self.by_key.remove(&keys.remove(0));
                }
            }
            placed.slots.push(slot);
        }
        assert!(self.bytes <= self.bytes_max);
        Some(placed)
    }

    pub(super) fn unpin(&mut self, slot: AdapterSlot) {
        let state = &mut self.slots[slot.0 as usize];
        // A slot whose content was forgotten while it was pinned becomes free with its last user.
        state.pins = state.pins.checked_sub(1).expect("what is unpinned was pinned");
        if state.pins > 0 {
            return;
        }
        match state.held {
            Some(info) => {
                self.clock += 1;
                state.used = self.clock;
                self.idle.insert((state.used, slot));
                self.idle_bytes += info.bytes;
            }
            None => self.free.push(slot),
        }
    }

    /// Forgets the content of a slot because loading it failed.
    pub(super) fn forget(&mut self, adapter: AdapterKey) {
        if let Some(slot) = self.by_key.get(&adapter).copied() {
            assert_eq!(self.slots[slot.0 as usize].pins, 0, "its users are gone");
            self.empty(slot);
            self.free.push(slot);
        }
    }

    pub(super) fn clear(&mut self) {
        assert!(self.slots.iter().all(|slot| slot.pins == 0), "nobody runs");
        *self = Self {
            evicted: self.evicted,
            ..Self::new(
                u32::try_from(self.slots.len()).expect("made from a u32"),
                self.bytes_max,
            )
        };
    }

    fn pin(&mut self, slot: AdapterSlot) {
        let state = &mut self.slots[slot.0 as usize];
        if state.pins == 0 {
            self.idle.remove(&(state.used, slot));
            self.idle_bytes -= state.held.map_or(0, |info| info.bytes);
        }
        state.pins += 1;
    }

    /// Takes a slot for an adapter that fits once enough idle ones are evicted.
    fn bring(&mut self, adapter: AdapterKey, info: AdapterInfo, placed: &mut Placed) -> AdapterSlot {
        while self.free.is_empty() || self.bytes + info.bytes > self.bytes_max {
            let (_, oldest) = *self.idle.first().expect("enough of the others are idle");
            self.empty(oldest);
            self.free.push(oldest);
            self.evicted += 1;
            placed.unload.push(oldest);
        }
        let slot = self.free.pop().expect("made above");
        self.bytes += info.bytes;
        self.by_hash.insert(info.hash, slot);
        let state = &mut self.slots[slot.0 as usize];
        state.held = Some(info);
        state.pins = 1;
        placed.load.push((slot, adapter));
        slot
    }

    fn empty(&mut self, slot: AdapterSlot) {
        let state = &mut self.slots[slot.0 as usize];
        let info = state.held.take().expect("only what is held goes");
        self.idle.remove(&(state.used, slot));
        self.idle_bytes -= info.bytes;
        self.bytes -= info.bytes;
        self.by_hash.remove(&info.hash);
        for key in state.keys.drain(..) {
            self.by_key.remove(&key);
        }
    }
}
