//! Which adapter sits in which slot of the device. One that runs stays; of the others the one used longest ago goes.

use std::collections::{BTreeMap, BTreeSet};

use compute::{forward::AdapterSlot, lora::AdapterHash};

use super::{AdapterKey, Facts};

/// Names that one content is remembered under; it is fetched again for one that was forgotten.
const KEYS_MAX: usize = 64;

#[derive(Debug, Default)]
struct Slot {
    held: Option<Facts>,
    /// Registered adapters that have this content.
    keys: Vec<AdapterKey>,
    pins: u32,
    used: u64,
}

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    by_hash: BTreeMap<AdapterHash, AdapterSlot>,
    by_key: BTreeMap<AdapterKey, AdapterSlot>,
    free: Vec<AdapterSlot>,
    /// Unpinned and held, the one used longest ago first.
    idle: BTreeSet<(u64, AdapterSlot)>,
    bytes: u64,
    idle_bytes: u64,
    bytes_max: u64,
    clock: u64,
    evicted: u64,
}

/// How a mix was put into slots.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// In the order of what was wanted.
    pub slots: Vec<AdapterSlot>,
    /// To empty first.
    pub unload: Vec<AdapterSlot>,
    /// To fill then.
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

    /// What sits in a slot for this adapter.
    pub(super) fn facts(&self, adapter: AdapterKey) -> Option<Facts> {
        let slot = self.by_key.get(&adapter)?;
        self.slots[slot.0 as usize].held
    }

    /// What sits in a slot takes.
    pub(super) fn bytes(&self, slot: AdapterSlot) -> u64 {
        self.slots[slot.0 as usize].held.map_or(0, |facts| facts.bytes)
    }

    /// Where this adapter sits.
    pub(super) fn find(&self, adapter: AdapterKey) -> Option<AdapterSlot> {
        self.by_key.get(&adapter).copied()
    }

    /// Pins all of these, bringing in at most `loads_max` that are not there; nothing if they do not fit now.
    pub(super) fn place(&mut self, wanted: &[(AdapterKey, Facts)], loads_max: usize) -> Option<Placed> {
        // Residents first, so that making room for the others does not push them out.
        let resident: Vec<AdapterSlot> = wanted
            .iter()
            .filter_map(|(_, facts)| self.by_hash.get(&facts.hash).copied())
            .collect();
        for slot in &resident {
            self.pin(*slot);
        }
        let missing: BTreeMap<AdapterHash, Facts> = wanted
            .iter()
            .filter(|(_, facts)| !self.by_hash.contains_key(&facts.hash))
            .map(|(_, facts)| (facts.hash, *facts))
            .collect();
        let bytes: u64 = missing.values().map(|facts| facts.bytes).sum();
        let fits = missing.len() <= loads_max.min(self.free.len() + self.idle.len())
            && self.bytes - self.idle_bytes + bytes <= self.bytes_max;
        if !fits {
            for slot in resident {
                self.unpin(slot);
            }
            return None;
        }
        let mut placed = Placed::default();
        for (adapter, facts) in wanted {
            let slot = match self.by_hash.get(&facts.hash) {
                // Pinned above, or just brought in for the same mix under another name.
                Some(slot) => {
                    let slot = *slot;
                    if !resident.contains(&slot) {
                        self.pin(slot);
                    }
                    slot
                }
                None => self.bring(*adapter, *facts, &mut placed),
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
        // A slot whose content was forgotten while it was pinned is free once its last user has gone.
        state.pins = state.pins.checked_sub(1).expect("what is unpinned was pinned");
        if state.pins > 0 {
            return;
        }
        match state.held {
            Some(facts) => {
                self.clock += 1;
                state.used = self.clock;
                self.idle.insert((state.used, slot));
                self.idle_bytes += facts.bytes;
            }
            None => self.free.push(slot),
        }
    }

    /// Forgets what a slot holds, because it does not hold it after all.
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
            self.idle_bytes -= state.held.map_or(0, |facts| facts.bytes);
        }
        state.pins += 1;
    }

    /// Takes a slot for an adapter that fits once enough others are gone.
    fn bring(&mut self, adapter: AdapterKey, facts: Facts, placed: &mut Placed) -> AdapterSlot {
        while self.free.is_empty() || self.bytes + facts.bytes > self.bytes_max {
            let (_, oldest) = *self.idle.first().expect("enough of the others are idle");
            self.empty(oldest);
            self.free.push(oldest);
            self.evicted += 1;
            placed.unload.push(oldest);
        }
        let slot = self.free.pop().expect("made above");
        self.bytes += facts.bytes;
        self.by_hash.insert(facts.hash, slot);
        let state = &mut self.slots[slot.0 as usize];
        state.held = Some(facts);
        state.pins = 1;
        placed.load.push((slot, adapter));
        slot
    }

    fn empty(&mut self, slot: AdapterSlot) {
        let state = &mut self.slots[slot.0 as usize];
        let facts = state.held.take().expect("only what is held goes");
        self.idle.remove(&(state.used, slot));
        self.idle_bytes -= facts.bytes;
        self.bytes -= facts.bytes;
        self.by_hash.remove(&facts.hash);
        for key in state.keys.drain(..) {
            self.by_key.remove(&key);
        }
    }
}
