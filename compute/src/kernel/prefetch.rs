//! What will be read soon, asked for a little at a time while something else is computed.
//!
//! Adapters are as large together as the base they act on, and each of their numbers is read once in a step: memory
//! would be waited for, where it can deliver while the base computes.

use super::simd::prefetch;

/// Bytes that a cache holds together.
const LINE: usize = 64;

/// Rows of bytes: a matrix, or some of its columns.
#[derive(Clone, Copy)]
pub(crate) struct Region<'a> {
    pub(crate) bytes: &'a [u8],
    /// From row to row.
    pub(crate) stride: usize,
    /// Of each row.
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

/// Stretches, and how far they were asked for.
pub struct Prefetch<'a> {
    regions: &'a [Region<'a>],
    row: usize,
    offset: usize,
    /// Lines at a time.
    each: usize,
}

impl<'a> Prefetch<'a> {
    /// Nothing.
    pub fn nothing() -> Self {
        Self::of(&[], 1)
    }

    /// All of these, in so many times.
    pub(crate) fn of(regions: &'a [Region<'a>], times: usize) -> Self {
        let lines: usize = regions.iter().map(Region::lines).sum();
        Self {
            regions,
            row: 0,
            offset: 0,
            each: lines.div_ceil(times.max(1)),
        }
    }

    /// Asks for some more.
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
