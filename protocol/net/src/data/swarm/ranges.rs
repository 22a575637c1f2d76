//! Ranges of a blob in whole groups, since an incomplete group cannot be verified.

use std::ops::Range;

use bao_tree::ChunkRanges;
use iroh_blobs::api::blobs::Bitfield;

use super::plan::Part;

/// Size of a group: the unit of verification.
pub(super) const GROUP: u64 = 16 << 10;
/// Most ranges that are read from a provider's availability reply.
const RANGES_MAX: usize = 4096;

/// Returns the ranges of a blob of `size` bytes that are not in `have`, widened to whole groups.
pub(super) fn missing(size: u64, have: &ChunkRanges) -> Vec<Range<u64>> {
    let mut missing: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    let mut note = |from: u64, to: u64| {
        let (from, to) = (from / GROUP * GROUP, to.div_ceil(GROUP).saturating_mul(GROUP).min(size));
        match missing.last_mut() {
            Some(last) if last.end >= from => last.end = to.max(last.end),
            _ if from < to => missing.push(from..to),
            _ => (),
        }
    };
    for pair in have.boundaries().chunks(2) {
        let start = pair[0].0.saturating_mul(1024).min(size);
        if start > at {
            note(at, start);
        }
        at = pair.get(1).map_or(size, |end| end.0.saturating_mul(1024).min(size));
    }
    if at < size {
        note(at, size);
    }
    missing
}

/// Returns the ranges that a provider says it has. Without a size that it claims proven, the last range is open.
pub(super) fn part(said: &Bitfield) -> Part {
    let size = said.validated_size().unwrap_or(u64::MAX);
    let mut ranges = Vec::new();
    for pair in said.ranges.boundaries().chunks(2).take(RANGES_MAX) {
        let start = pair[0].0.saturating_mul(1024);
        let end = pair.get(1).map_or(size, |end| end.0.saturating_mul(1024).min(size));
        // An incomplete group counts as missing; the last group ends with the blob.
        let start = start.div_ceil(GROUP).saturating_mul(GROUP);
        let end = if end == size { end } else { end / GROUP * GROUP };
        if start < end {
            ranges.push(start..end);
        }
    }
    let has_end = said.validated_size().is_some() && ranges.last().is_some_and(|last| last.end == size);
    Part { ranges, has_end }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use bao_tree::ChunkNum;

    use super::*;

    #[test]
    fn missing_ranges_are_whole_groups_up_to_the_end() {
        let chunks = |from, to| ChunkRanges::from(ChunkNum(from)..ChunkNum(to));
        let check = |size, have: ChunkRanges, expect: &[Range<u64>]| assert_eq!(missing(size, &have), expect);
        check(100, ChunkRanges::empty(), &[0..100]);
        check(100, ChunkRanges::all(), &[]);
        check(1 << 20, chunks(0, 16), &[16384..1 << 20]);
        check(1 << 20, chunks(0, 16) | chunks(1008, 1024), &[16384..1008 << 10]);
        check(1 << 20, chunks(3, 1024), &[0..16384]);
        check((1 << 20) - 5, ChunkRanges::from(ChunkNum(16)..), &[0..16384]);
        check(1 << 20, chunks(1, 2) | chunks(3, 4), &[0..1 << 20]);
    }

    #[test]
    fn a_part_is_whole_groups_and_its_end_counts_only_with_a_proven_size() {
        let chunks = |from, to| ChunkRanges::from(ChunkNum(from)..ChunkNum(to));
        let check = |ranges: ChunkRanges, size, expect: &[Range<u64>], has_end| {
            let expect = Part {
                ranges: expect.to_vec(),
                has_end,
            };
            assert_eq!(part(&Bitfield::new(ranges, size)), expect);
        };
        const MIB: u64 = 1 << 20;
        check(ChunkRanges::empty(), 0, &[], false);
        check(ChunkRanges::all(), MIB + 5, &[0..MIB + 5], true);
        check(chunks(0, 100), MIB, &[0..96 << 10], false);
        check(chunks(1, 48), MIB, &[16 << 10..48 << 10], false);
        check(
            chunks(0, 15) | ChunkRanges::from(ChunkNum(1000)..),
            MIB,
            &[1008 << 10..MIB],
            true,
        );
        check(ChunkRanges::from(ChunkNum(1024)..), MIB + 5, &[MIB..MIB + 5], true);
    }
}
