//! Causal attention inside the sequences of a pass, forward. A row is queries, keys and values side by side, after
//! [`rope`](super::backward::rope).
//!
//! The weights are not stored, as in FlashAttention: the forward pass keeps the log-sum-exp of each query's scores
//! (`lse`), from which the backward pass computes them again. Sums over queries and keys run in their order, so they
//! do not depend on the number of cubes.
//!
//! A tile is its first row, number of rows, and begin and end of its sequence.

use cubecl::prelude::*;

use super::tile::{CHUNK, LOWEST, accumulate, load, online_softmax, rescale};

/// Rows of a tile.
pub const ROWS: usize = 8;
/// Rows of a warp.
pub(crate) const EACH: usize = 2;
/// Computes attention for each row of a tile and one query head.
#[cube(launch_unchecked)]
pub(crate) fn self_attention(
    qkv: &[f32],
    tiles: &[u32],
    out: &mut [f32],
    lse: &mut [f32],
    heads: u32,
    kv_heads: u32,
    #[comptime] width: usize,
) {
    let lane = UNIT_POS_X as usize;
    let warp = UNIT_POS_Y as usize;
    let unit = warp * 32 + lane;
    let columns = comptime!(width.div_ceil(128));
    let tile = CUBE_POS_X as usize * 4;
    let (first, rows, begin) = (tiles[tile] as usize, tiles[tile + 1] as usize, tiles[tile + 2] as usize);
    let head = CUBE_POS_Y as usize;
    let kv_head = (CUBE_POS_Y / (heads / kv_heads)) as usize;
    let (heads, kv_heads) = (heads as usize, kv_heads as usize);
    let stride = (heads + 2 * kv_heads) * width;
    let end = first + rows;
    let mut q_tile = Shared::<[f32]>::new_slice(comptime!(ROWS * width));
    let mut keys = Shared::<[f32]>::new_slice(comptime!(CHUNK * (width + 1)));
    let mut values = Shared::<[f32]>::new_slice(comptime!(CHUNK * width));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(ROWS * CHUNK));
    let mut rescales = Shared::<[f32]>::new_slice(ROWS);
    load(
        qkv,
        &mut q_tile,
        first,
        end,
        stride,
        head * width,
        unit,
        ROWS,
        width,
        width,
    );
    let mut greatest = Array::<f32>::new(EACH);
    let mut total = Array::<f32>::new(EACH);
    #[unroll]
    for e in 0..EACH {
        greatest[e] = LOWEST;
        total[e] = 0.0f32;
    }
    let mut sums = Array::<f32>::new(comptime!(columns * ROWS));
    #[unroll]
    for s in 0..columns * ROWS {
        sums[s] = 0.0f32;
    }
    let scale = 1.0f32 / f32::sqrt(f32::cast_from(comptime!(width as u32)));
    let mut from = begin;
    while from < end {
        sync_cube();
        load(
            qkv,
            &mut keys,
            from,
            end,
            stride,
            (heads + kv_head) * width,
            unit,
            CHUNK,
            width,
            comptime!(width + 1),
        );
        load(
            qkv,
            &mut values,
            from,
            end,
            stride,
            (heads + kv_heads + kv_head) * width,
            unit,
            CHUNK,
            width,
            width,
        );
        sync_cube();
        #[unroll]
        for e in 0..EACH {
            let query = warp + e * 4;
            let seen = from + lane <= first + query && from + lane < end;
            online_softmax(
                &q_tile,
                &keys,
                &mut greatest,
                &mut total,
                &mut weights,
                &mut rescales,
                e,
                query,
                lane,
                seen,
                scale,
                width,
            );
        }
        sync_cube();
        rescale(&mut sums, &rescales, unit, ROWS, width);
        accumulate(&mut sums, &weights, &values, unit, ROWS, width, width);
        from += CHUNK;
    }
    // Other threads may still read what is overwritten below.
    sync_cube();
    #[unroll]
    for e in 0..EACH {
        let query = warp + e * 4;
        if lane == 0 {
            rescales[query] = total[e];
            if query < rows {
                lse[(first + query) * heads + head] = greatest[e] + f32::ln(total[e]);
            }
        }
    }
    sync_cube();
    #[unroll]
    for query in 0..ROWS {
        if query < rows {
            #[unroll]
            for c in 0..columns {
                let column = unit + c * 128;
                if column < width {
                    out[((first + query) * heads + head) * width + column] = sums[c * ROWS + query] / rescales[query];
                }
            }
        }
    }
}

/// Computes the dot product of each output with its gradient, a warp for each head of each row.
#[cube(launch_unchecked)]
pub(crate) fn delta(out: &[f32], d: &[f32], y: &mut [f32], heads: u32, width: u32) {
    let head = CUBE_POS_Y * CUBE_DIM_Y + UNIT_POS_Y;
    if head < heads {
        let at = (CUBE_POS_X * heads + head) as usize;
        let width = width as usize;
        let mut sum = 0.0f32;
        let mut i = UNIT_POS_X as usize;
        while i < width {
            sum += out[at * width + i] * d[at * width + i];
            i += 32usize;
        }
        let sum = plane_sum(sum);
        if UNIT_POS_X == 0 {
            y[at] = sum;
        }
    }
}
