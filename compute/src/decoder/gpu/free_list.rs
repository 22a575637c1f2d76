//! A first-fit allocator for a piece of memory, which joins neighbouring free ranges.

use std::collections::BTreeMap;

/// The free ranges of a piece of memory: length by offset.
#[derive(Debug)]
pub(super) struct FreeList {
    free: BTreeMap<u64, u64>,
    bytes: u64,
}

impl FreeList {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            free: BTreeMap::from([(0, bytes)]),
            bytes,
        }
    }

    /// Returns the length of the whole piece.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the first free range of this length and returns its offset.
    pub(super) fn take(&mut self, bytes: u64) -> Option<u64> {
        let (at, length) = self
            .free
            .iter()
            .map(|(at, length)| (*at, *length))
            .find(|(_, length)| *length >= bytes)?;
        self.free.remove(&at);
        if length > bytes {
            self.free.insert(at + bytes, length - bytes);
        }
        Some(at)
    }

    /// Gives back a range that was taken.
    pub(super) fn give(&mut self, at: u64, bytes: u64) {
        let (mut at, mut bytes) = (at, bytes);
        if let Some(next) = self.free.remove(&(at + bytes)) {
            bytes += next;
        }
        if let Some((before, length)) = self.free.range(..at).next_back().map(|(at, length)| (*at, *length)) {
            assert!(before + length <= at, "a range is given back once");
            if before + length == at {
                self.free.remove(&before);
                (at, bytes) = (before, bytes + length);
            }
        }
        let known = self.free.insert(at, bytes);
        assert!(
            known.is_none() && at + bytes <= self.bytes,
            "a range is given back once"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_one_piece_again() {
        let mut extents = FreeList::new(100);
        let taken: Vec<u64> = (0..4).map(|_| extents.take(25).unwrap()).collect();
        assert_eq!(taken, [0, 25, 50, 75]);
        assert_eq!(extents.take(1), None);
        for at in [25, 75, 0, 50] {
            extents.give(at, 25);
        }
        assert_eq!(extents.take(100), Some(0));
    }

    #[test]
    #[should_panic(expected = "given back once")]
    fn nothing_is_given_back_twice() {
        let mut extents = FreeList::new(100);
        let at = extents.take(10).unwrap();
        extents.give(at, 10);
        extents.give(at, 10);
    }
}
