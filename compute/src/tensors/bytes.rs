//! Bytes of matrices: parts of one holder, which is read, mapped or made, and never copied again.

#![allow(unsafe_code, reason = "where bytes lie is kept, and their holder with it")]

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// From here on memory is the system's own and is kept when it is given back. It comes in small pages: to make large ones
/// the system may first have to move what lies in their place, which takes longer than all else that a load does.
const LARGE: usize = 64 << 10;

/// Whoever has the bytes.
pub(crate) type Holder = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Bytes that live as long as what is made of them: read, mapped, or an adapter's.
#[derive(Clone)]
pub(crate) struct Bytes {
    /// Never asked again: kernels look at thousands of these in a step.
    _holder: Holder,
    start: *const u8,
    length: usize,
}

// SAFETY: the bytes are the holder's, which is both, and are only read.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// A part of somebody's bytes, which stay where they are: no holder here can be written to once it is shared.
    pub(crate) fn part(holder: Holder, range: Range<usize>) -> Self {
        let part = &(*holder).as_ref()[range];
        let (start, length) = (part.as_ptr(), part.len());
        Self {
            _holder: holder,
            start,
            length,
        }
    }

    /// All of them.
    pub(crate) fn all(holder: Holder) -> Self {
        let range = 0..(*holder).as_ref().len();
        Self::part(holder, range)
    }

    pub(crate) fn get(&self) -> &[u8] {
        // SAFETY: inside the holder's bytes, which live as long as this does.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// Memory that is written once, as a whole, and then shared.
pub struct Buffer {
    memory: Memory,
    length: usize,
}

enum Memory {
    Small(Vec<u8>),
    Large(memmap2::MmapMut),
}

/// Memory that was given back, or made ready: to be given new memory takes as long as to read an adapter into it.
static SPARE: Mutex<Vec<memmap2::MmapMut>> = Mutex::new(Vec::new());

/// What is kept spare.
const SPARE_BYTES_MAX: usize = 16 << 20;

impl Buffer {
    /// So many bytes, whatever they are now.
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

    /// Sees to it that a buffer of this length will be there at once.
    pub fn make_ready(length: usize) {
        if !(LARGE..=SPARE_BYTES_MAX).contains(&length) {
            return;
        }
        let ready = spare(length).map_or_else(|| memmap2::MmapOptions::new().len(length).populate().map_anon(), Ok);
        // Where there is no memory, whoever needs it will be told.
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

/// One that is long enough and not much longer.
fn spare(length: usize) -> Option<memmap2::MmapMut> {
    let mut spares = spares();
    let at = spares
        .iter()
        .position(|map| (length..=length + length / 8).contains(&map.len()))?;
    Some(spares.swap_remove(at))
}

/// Keeps one, and gives up those kept longest for it.
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
