//! The steps that all attention kernels share. A cube takes a tile of queries, reads keys and values a chunk at a
//! time into shared memory, and keeps the sums of its rows in registers, `[column][row]` in each thread.

use cubecl::prelude::*;

/// Warps of a cube.
pub(crate) const WARPS: u32 = 4;
/// Keys in a chunk: one for each lane.
pub(crate) const CHUNK: usize = 32;
/// Start of a maximum: lower than any score.
pub(crate) const LOWEST: f32 = -1.0e30;

/// Loads rows `first..end` of some columns into shared memory, with zeros behind the end.
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

/// Online softmax: computes the score of a query and this lane's key, updates the greatest score, and stores the
/// weight relative to it and the factor by which earlier sums have to be rescaled.
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
    // In two sums, for precision: an error of the score is a relative error of its weight.
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

/// Multiplies the sums of each row by its factor.
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

/// Adds the weighted values of a chunk to the sums of each row, one key after the other.
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

/// Writes the sums of a tile's rows to some columns.
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
