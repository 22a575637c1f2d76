//! Adapters in slots, and the cache of those that are in the GPU's memory.
//!
//! A slot refers to an adapter in host memory. A step copies the adapters that it uses into one pool of fixed size,
//! and evicts the least recently used for them. So there may be thousands of slots over a pool that holds a few.

use std::{collections::BTreeSet, sync::Arc};

use cube::{Element, Machine, vector_of};

use super::{count, free_list::FreeList, weights::convert};
use crate::{
    decoder::Step,
    forward::StepError,
    lora::{Adapter, AdapterHash, Projection},
    model::Config,
    tensors::Matrix,
};

/// Alignment of factors, in bytes, for the kernels' widest loads.
const ALIGN: u64 = 32;
const SITES: usize = Projection::ALL.len();
/// Entries of the table for a site: offset of A, offset of B, rank.
const NUMBERS: usize = 3;

/// The layout of sites that read the same rows.
pub(super) struct Group<B> {
    /// Numbers per load along A's rows; `outs` is the same for B's.
    pub(super) inside: usize,
    pub(super) outs: usize,
    /// First output and number of outputs of each site, in vectors.
    pub(super) columns: B,
}

struct Slot {
    adapter: Arc<Adapter>,
    bytes: u64,
    /// Offset in the pool and the step of the last use, if it is in the pool.
    resident: Option<(u64, u64)>,
}

/// All slots and the pool.
pub(super) struct Adapters<B> {
    pub(super) pool: B,
    /// [`NUMBERS`] entries for each slot, layer and site.
    pub(super) factors: B,
    /// Scale for each slot, layer and site.
    pub(super) scales: B,
    groups: [Group<B>; 4],
    slots: Vec<Option<Slot>>,
    free: FreeList,
    element: Element,
    layers: usize,
    steps: u64,
}

fn group_of(site: Projection) -> usize {
    match site {
        Projection::Q | Projection::K | Projection::V => 0,
        Projection::O => 1,
        Projection::Gate | Projection::Up => 2,
        Projection::Down => 3,
    }
}

impl<B: Clone + Send> Adapters<B> {
    /// Makes slots for `slots` adapters and a pool of `bytes` bytes.
    pub(super) fn new<M: Machine<Buffer = B>>(
        machine: &mut M,
        config: &Config,
        element: Element,
        slots: u32,
        bytes: u64,
    ) -> Self {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let bytes = bytes.max(ALIGN).next_multiple_of(ALIGN);
        let mut group = |sites: &[Projection]| {
            let [_, inside] = config.linear_shape(sites[0]);
            let outs: Vec<usize> = sites.iter().map(|site| config.linear_shape(*site)[0]).collect();
            let aligned = outs.iter().all(|outs| vector_of(element, *outs) > 1);
            let vector = if aligned { element.vector() } else { 1 };
            let begins = outs.iter().scan(0, |at, outs| Some(std::mem::replace(at, *at + outs)));
            let columns: Vec<u8> = begins
                .zip(&outs)
                .flat_map(|(begin, outs)| [begin / vector, outs / vector])
                .flat_map(|number| count(number).to_le_bytes())
                .collect();
            Group {
                inside: vector_of(element, inside),
                outs: vector,
                columns: machine.upload(&columns),
            }
        };
        let groups = [group(&[Q, K, V]), group(&[O]), group(&[Gate, Up]), group(&[Down])];
        let sites = (slots.max(1) as usize * config.layers * SITES) as u64;
        Self {
            groups,
            pool: machine.reserve(bytes),
            factors: machine.reserve(sites * (NUMBERS * size_of::<u32>()) as u64),
            scales: machine.reserve(sites * size_of::<f32>() as u64),
            slots: (0..slots).map(|_| None).collect(),
            free: FreeList::new(bytes),
            element,
            layers: config.layers,
            steps: 0,
        }
    }

    /// Returns the layout of the sites that read the same rows as this one.
    pub(super) fn group(&self, site: Projection) -> &Group<B> {
        &self.groups[group_of(site)]
    }

    /// Returns the number of sites of a slot.
    pub(super) fn slot_sites(&self) -> usize {
        self.layers * SITES
    }

    /// Returns the bytes in use in the pool.
    #[cfg(all(test, feature = "host"))]
    pub(super) fn bytes_resident(&self) -> u64 {
        self.slots
            .iter()
            .flatten()
            .filter(|slot| slot.resident.is_some())
            .map(|slot| slot.bytes)
            .sum()
    }

    /// Returns the largest rank of the adapter in a slot.
    pub(super) fn rank(&self, slot: u32) -> usize {
        self.slots[slot as usize].as_ref().map_or(0, |slot| slot.adapter.rank())
    }

    /// Puts an adapter into a slot. It is copied to the GPU when a step uses it.
    pub(super) fn load(&mut self, slot: u32, adapter: &Arc<Adapter>, config: &Config) -> Result<(), StepError> {
        let misfit = |why| StepError::Misfit {
            adapter: format!("{:#}", adapter.hash().0),
            why,
        };
        let mut bytes = 0;
        for (site, low) in adapter.sites() {
            if site.layer as usize >= config.layers {
                return Err(misfit(format!(
                    "it has a layer {site} and the base {} blocks",
                    config.layers
                )));
            }
            let [out, inside] = config.linear_shape(site.projection);
            let have = (low.b.columns, low.a.columns);
            if have != (out, inside) {
                return Err(misfit(format!(
                    "{site} is for {have:?} and the base has ({out}, {inside})"
                )));
            }
            bytes += self.padded_bytes(&low.a) + self.padded_bytes(&low.b);
        }
        let pool = self.free.bytes();
        if bytes > pool {
            return Err(misfit(format!(
                "it takes {bytes} bytes of a device that has {pool} for adapters"
            )));
        }
        self.unload(slot);
        self.slots[slot as usize] = Some(Slot {
            adapter: Arc::clone(adapter),
            bytes,
            resident: None,
        });
        Ok(())
    }

    fn padded_bytes(&self, matrix: &Matrix) -> u64 {
        ((matrix.rows * matrix.columns * self.element.bytes()) as u64).next_multiple_of(ALIGN)
    }

    pub(super) fn unload(&mut self, slot: u32) {
        self.evict(slot as usize);
        self.slots[slot as usize] = None;
    }

    pub(super) fn loaded(&self, slot: u32) -> Option<AdapterHash> {
        Some(self.slots.get(slot as usize)?.as_ref()?.adapter.hash())
    }

    /// Evicts an adapter from the pool.
    fn evict(&mut self, slot: usize) {
        if let Some(Slot { bytes, resident, .. }) = &mut self.slots[slot]
            && let Some((at, _)) = resident.take()
        {
            self.free.give(at, *bytes);
        }
    }

    /// Copies the adapters that a step uses into the pool. Fails if the pool cannot hold them all at once.
    pub(super) fn make_resident<M: Machine<Buffer = B>>(
        &mut self,
        machine: &mut M,
        step: &Step,
    ) -> Result<(), StepError> {
        self.steps += 1;
        let used: BTreeSet<usize> = step.groups.iter().map(|group| group.slot as usize).collect();
        for slot in &used {
            if let Some(Slot {
                resident: Some((_, last)),
                ..
            }) = &mut self.slots[*slot]
            {
                *last = self.steps;
            }
        }
        let missing = |adapters: &Self| -> Vec<usize> {
            let resident = |slot: &usize| {
                adapters.slots[*slot]
                    .as_ref()
                    .is_some_and(|slot| slot.resident.is_some())
            };
            used.iter().copied().filter(|slot| !resident(slot)).collect()
        };
        for slot in missing(self) {
            if !self.upload(machine, slot) {
                // The pool is fragmented: everything goes out, and what this step uses goes in again from the front.
                (0..self.slots.len()).for_each(|slot| self.evict(slot));
                break;
            }
        }
        for slot in missing(self) {
            if !self.upload(machine, slot) {
                let need: u64 = used
                    .iter()
                    .filter_map(|slot| Some(self.slots[*slot].as_ref()?.bytes))
                    .sum();
                return Err(StepError::Device(format!(
                    "the {} adapters of one step take {need} bytes and the device has {} for adapters",
                    used.len(),
                    self.free.bytes()
                )));
            }
        }
        Ok(())
    }

    /// Copies one adapter into the pool, evicting others that this step does not use. False if there is no room.
    fn upload<M: Machine<Buffer = B>>(&mut self, machine: &mut M, slot: usize) -> bool {
        let bytes = self.slots[slot].as_ref().expect("a step's slots are loaded").bytes;
        let at = loop {
            if let Some(at) = self.free.take(bytes) {
                break at;
            }
            let idle = self.slots.iter().enumerate().filter_map(|(index, slot)| {
                let (_, last) = slot.as_ref()?.resident?;
                (last < self.steps).then_some((last, index))
            });
            match idle.min() {
                Some((_, idle)) => self.evict(idle),
                None => return false,
            }
        };
        self.write(machine, slot, at);
        let steps = self.steps;
        self.slots[slot].as_mut().expect("a step's slots are loaded").resident = Some((at, steps));
        true
    }

    /// Writes an adapter to the pool and its rows of the tables.
    fn write<M: Machine<Buffer = B>>(&mut self, machine: &mut M, slot: usize, at: u64) {
        let Slot { adapter, bytes, .. } = self.slots[slot].as_ref().expect("a step's slots are loaded");
        let mut numbers = Vec::with_capacity(usize::try_from(*bytes).expect("an adapter is in memory"));
        let mut factors = vec![0u32; self.slot_sites() * NUMBERS];
        let mut scales = vec![0.0f32; self.slot_sites()];
        for (site, low) in adapter.sites() {
            let group = self.group(site.projection);
            let row = site.layer as usize * SITES + site.projection as usize;
            let mut put = |matrix: &Matrix, vector: usize| {
                let begin = (at + numbers.len() as u64) / (vector * self.element.bytes()) as u64;
                convert(matrix.dtype, matrix.bytes(), self.element, &mut numbers);
                numbers.resize(
                    numbers.len().next_multiple_of(usize::try_from(ALIGN).expect("small")),
                    0,
                );
                u32::try_from(begin).expect("the pool is counted in 32 bits")
            };
            let (a, b) = (put(&low.a, group.inside), put(&low.b, group.outs));
            factors[row * NUMBERS..][..NUMBERS].copy_from_slice(&[a, b, count(low.rank())]);
            scales[row] = low.scale;
        }
        assert_eq!(numbers.len() as u64, *bytes, "what is written is what was taken");
        let first = (slot * self.slot_sites()) as u64;
        machine.write(&self.pool, at, &numbers);
        let factors: Vec<u8> = factors.iter().flat_map(|number| number.to_le_bytes()).collect();
        machine.write(&self.factors, first * (NUMBERS * size_of::<u32>()) as u64, &factors);
        let scales: Vec<u8> = scales.iter().flat_map(|number| number.to_le_bytes()).collect();
        machine.write(&self.scales, first * size_of::<f32>() as u64, &scales);
    }
}
