//! Bytes of matrices: ranges of a shared buffer or a mapped file, which are never copied.

#![allow(unsafe_code, reason = "where bytes lie is kept, and their holder with it")]

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// From this size on, buffers are anonymous maps that are reused. Smaller ones come from the allocator. Small pages
/// are used on purpose: for huge ones the system may first have to compact memory, which takes longer than loading an
/// adapter.
const LARGE: usize = 64 << 10;

/// The owner of some bytes: a buffer or a mapped file.
pub(crate) type Holder = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A range of bytes that keeps its owner alive.
#[derive(Clone)]
pub(crate) struct Bytes {
    /// Kept only for its lifetime: kernels read thousands of these in a step and go through the pointer.
    _holder: Holder,
    start: *const u8,
    length: usize,
}

// SAFETY: the bytes are the owner's, which is both, and are only read.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// Takes a range of the owner's bytes. They do not move: no owner here can be written to once it is shared.
    pub(crate) fn part(holder: Holder, range: Range<usize>) -> Self {
        let part = &(*holder).as_ref()[range];
        let (start, length) = (part.as_ptr(), part.len());
        Self {
            _holder: holder,
            start,
            length,
        }
    }

    /// Takes all bytes of the owner.
    pub(crate) fn all(holder: Holder) -> Self {
        let range = 0..(*holder).as_ref().len();
        Self::part(holder, range)
    }

    pub(crate) fn get(&self) -> &[u8] {
        // SAFETY: inside the holder's bytes, which live as long as this does.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// Memory that is written once, as a whole, and shared afterwards.
pub struct Buffer {
    memory: Memory,
    length: usize,
}

enum Memory {
    Small(Vec<u8>),
    Large(memmap2::MmapMut),
}

/// Maps that were given back or prepared. Mapping new memory takes as long as reading an adapter into it.
static SPARE: Mutex<Vec<memmap2::MmapMut>> = Mutex::new(Vec::new());

/// Most bytes of spare maps; the oldest are unmapped beyond it.
const SPARE_BYTES_MAX: usize = 16 << 20;

impl Buffer {
    /// Makes a buffer with unspecified content.
    pub(crate) fn new(length: usize) -> Self {
        let memory = match length < LARGE {
            true => Memory::Small(vec![0; length]),
            false => match spare(length).map_or_else(|| memmap2::MmapMut::map_anon(length), Ok) {
                Ok(map) => Memory::Large(map),
                Err(_) => Memory::Small(vec![0; length]),
            },
        };
        Self { memory, length }
    }

    /// Prepares a buffer of this length, so that the next one is there without a page fault.
    pub fn make_ready(length: usize) {
        if !(LARGE..=SPARE_BYTES_MAX).contains(&length) {
            return;
        }
        let ready = spare(length).map_or_else(|| memmap2::MmapOptions::new().len(length).populate().map_anon(), Ok);
        // If there is no memory, the buffer that is made later fails instead.
        if let Ok(ready) = ready {
            keep(ready);
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Small(bytes) => bytes,
            Memory::Large(map) => &mut map[..self.length],
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        match &self.memory {
            Memory::Small(bytes) => bytes,
            Memory::Large(map) => &map[..self.length],
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Memory::Large(map) = std::mem::replace(&mut self.memory, Memory::Small(Vec::new())) {
            keep(map);
        }
    }
}

fn spares() -> MutexGuard<'static, Vec<memmap2::MmapMut>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a spare map that is long enough and at most an eighth longer.
fn spare(length: usize) -> Option<memmap2::MmapMut> {
    let mut spares = spares();
    let at = spares
        .iter()
        .position(|map| (length..=length + length / 8).contains(&map.len()))?;
    Some(spares.swap_remove(at))
}

/// Keeps a map and unmaps the oldest beyond the bound.
fn keep(map: memmap2::MmapMut) {
    if map.len() > SPARE_BYTES_MAX {
        return;
    }
    let mut spares = spares();
    spares.push(map);
    while spares.iter().map(|map| map.len()).sum::<usize>() > SPARE_BYTES_MAX {
        spares.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_given_back_is_given_out_again_and_as_long_as_asked_for() {
        let length = 3 << 20;
        for round in 0..4u8 {
            let mut buffer = Buffer::new(length + usize::from(round));
            buffer.bytes().fill(round);
            assert_eq!(buffer.as_ref().len(), length + usize::from(round));
            assert!(buffer.as_ref().iter().all(|byte| *byte == round));
        }
        Buffer::make_ready(length);
        assert!(spares().iter().map(|map| map.len()).sum::<usize>() <= SPARE_BYTES_MAX);
    }
}
