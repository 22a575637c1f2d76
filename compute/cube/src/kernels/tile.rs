//! What attention has in common, to keys in pages and to those of a sequence: a cube takes a tile of queries, meets keys
//! and values a chunk at a time in shared memory, and keeps sums of its rows by columns, `[column][row]` in each thread.

use cubecl::prelude::*;

/// Warps of a cube.
pub(crate) const WARPS: u32 = 4;
/// Rows that a tile meets at once: one for each lane.
pub(crate) const CHUNK: usize = 32;
/// Lower than any score.
pub(crate) const LOWEST: f32 = -1.0e30;

/// Rows of a part of a wide row into shared memory; zeros for those that are not there.
#[cube]
pub(crate) fn load(
    from: &[f32],
    to: &mut [f32],
    first: usize,
    end: usize,
    stride: usize,
    at: usize,
    unit: usize,
    #[comptime] rows: usize,
    #[comptime] width: usize,
    #[comptime] pitch: usize,
) {
    let mut i = unit;
    while i < comptime!(rows * width) {
        let row = first + i / width;
        let mut single = 0.0f32;
        if row < end {
            single = from[row * stride + at + i % width];
        }
        to[i / width * pitch + i % width] = single;
        i += 128usize;
    }
}

/// The score of a query and this lane's key, and its weight beside the greatest score so far. What was gathered with a
/// lower one rescales.
#[cube]
pub(crate) fn online_softmax(
    q_tile: &[f32],
    keys: &[f32],
    greatest: &mut Array<f32>,
    total: &mut Array<f32>,
    weights: &mut [f32],
    rescales: &mut [f32],
    e: usize,
    query: usize,
    lane: usize,
    seen: bool,
    scale: f32,
    #[comptime] width: usize,
) {
    // In two sums: what a score is off by comes back as so much of its weight.
    let half = comptime!(width / 2);
    let mut score = 0.0f32;
    let mut upper = 0.0f32;
    for d in 0..half {
        score += q_tile[query * width + d] * keys[lane * comptime!(width + 1) + d];
        upper += q_tile[query * width + half + d] * keys[lane * comptime!(width + 1) + half + d];
    }
    score += upper;
    score = select(seen, score * scale, LOWEST);
    let most = max(greatest[e], plane_max(score));
    let weight = select(seen, f32::exp(score - most), 0.0f32);
    let rescale = f32::exp(greatest[e] - most);
    total[e] = total[e] * rescale + plane_sum(weight);
    greatest[e] = most;
    weights[query * CHUNK + lane] = weight;
    if lane == 0 {
        rescales[query] = rescale;
    }
}

/// Shrinks what each row gathered.
#[cube]
pub(crate) fn rescale(
    sums: &mut Array<f32>,
    rescales: &[f32],
    unit: usize,
    #[comptime] rows: usize,
    #[comptime] width: usize,
) {
    #[unroll]
    for c in 0..comptime!(width.div_ceil(128)) {
        if unit + c * 128 < width {
            #[unroll]
            for row in 0..rows {
                sums[c * rows + row] *= rescales[row];
            }
        }
    }
}

/// Adds the values of a chunk to what each row gathered, each as much as it weighs, one after the other.
#[cube]
pub(crate) fn accumulate(
    sums: &mut Array<f32>,
    weights: &[f32],
    values: &[f32],
    unit: usize,
    #[comptime] rows: usize,
    #[comptime] width: usize,
    #[comptime] pitch: usize,
) {
    #[unroll]
    for c in 0..comptime!(width.div_ceil(128)) {
        let column = unit + c * 128;
        if column < width {
            for token in 0..CHUNK {
                let value = values[token * pitch + column];
                #[unroll]
                for row in 0..rows {
                    sums[c * rows + row] += weights[row * CHUNK + token] * value;
                }
            }
        }
    }
}

/// Writes what each row of a tile gathered into its part of a wide row.
#[cube]
pub(crate) fn store(
    sums: &Array<f32>,
    to: &mut [f32],
    first: usize,
    count: usize,
    stride: usize,
    at: usize,
    unit: usize,
    #[comptime] rows: usize,
    #[comptime] width: usize,
) {
    #[unroll]
    for row in 0..rows {
        if row < count {
            #[unroll]
            for c in 0..comptime!(width.div_ceil(128)) {
                let column = unit + c * 128;
                if column < width {
                    to[(first + row) * stride + at + column] = sums[c * rows + row];
                }
            }
        }
    }
}
