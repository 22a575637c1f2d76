//! Memory that is fetched in advance, a little at a time, while a thread computes.
//!
//! The adapters of a batch may be as large as the base, and each of their numbers is read once in a step. Fetched
//! beside the base's products, they do not have to be waited for.

use super::simd::prefetch;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Some columns of a matrix, or all.
#[derive(Clone, Copy)]
pub(crate) struct Region<'a> {
    pub(crate) bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub(crate) stride: usize,
    /// Bytes of each row that are read.
    pub(crate) width: usize,
}

impl Region<'_> {
    fn rows(&self) -> usize {
        self.bytes.len().div_ceil(self.stride.max(1))
    }

    fn lines(&self) -> usize {
        self.rows() * self.width.div_ceil(LINE)
    }
}

/// Regions to fetch, and the progress in them.
pub struct Prefetch<'a> {
    regions: &'a [Region<'a>],
    row: usize,
    offset: usize,
    /// Cache lines per call of [`Self::advance`].
    each: usize,
}

impl<'a> Prefetch<'a> {
    /// Fetches nothing.
    pub fn nothing() -> Self {
        Self::of(&[], 1)
    }

    /// Fetches these regions in `times` calls of [`Self::advance`].
    pub(crate) fn of(regions: &'a [Region<'a>], times: usize) -> Self {
        let lines: usize = regions.iter().map(Region::lines).sum();
        Self {
            regions,
            row: 0,
            offset: 0,
            each: lines.div_ceil(times.max(1)),
        }
    }

    /// Requests the next few cache lines.
    #[inline(always)]
    pub(crate) fn advance(&mut self) {
        if !self.regions.is_empty() {
            self.request();
        }
    }

    fn request(&mut self) {
        for _ in 0..self.each {
            let Some(region) = self.regions.first() else { return };
            let at = self.row * region.stride + self.offset;
            prefetch(region.bytes.as_ptr().wrapping_add(at));
            self.offset += LINE;
            if self.offset >= region.width {
                (self.row, self.offset) = (self.row + 1, 0);
                if self.row * region.stride >= region.bytes.len() {
                    (self.row, self.regions) = (0, &self.regions[1..]);
                }
            }
        }
    }
}
