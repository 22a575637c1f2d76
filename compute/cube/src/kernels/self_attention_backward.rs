//! Backward pass of [`self_attention`](super::self_attention::self_attention). Weights are computed again from its
//! `lse`.

use cubecl::prelude::*;

use super::{
    self_attention::{EACH, ROWS},
    tile::{CHUNK, accumulate, load, store},
};

/// Computes the gradient of a tile's queries for one query head.
#[cube(launch_unchecked)]
pub(crate) fn backward_dq(
    qkv: &[f32],
    d: &[f32],
    lse: &[f32],
    delta: &[f32],
    tiles: &[u32],
    y: &mut [f32],
    heads: u32,
    kv_heads: u32,
    #[comptime] width: usize,
) {
    let lane = UNIT_POS_X as usize;
    let warp = UNIT_POS_Y as usize;
    let unit = warp * 32 + lane;
    let columns = comptime!(width.div_ceil(128));
    let pitch = comptime!(width + 1);
    let tile = CUBE_POS_X as usize * 4;
    let (first, rows, begin) = (tiles[tile] as usize, tiles[tile + 1] as usize, tiles[tile + 2] as usize);
    let head = CUBE_POS_Y as usize;
    let kv_head = (CUBE_POS_Y / (heads / kv_heads)) as usize;
    let (heads, kv_heads) = (heads as usize, kv_heads as usize);
    let stride = (heads + 2 * kv_heads) * width;
    let end = first + rows;
    let mut q_tile = Shared::<[f32]>::new_slice(comptime!(ROWS * width));
    let mut d_tile = Shared::<[f32]>::new_slice(comptime!(ROWS * width));
    let mut keys = Shared::<[f32]>::new_slice(comptime!(CHUNK * pitch));
    let mut values = Shared::<[f32]>::new_slice(comptime!(CHUNK * pitch));
    let mut d_scores = Shared::<[f32]>::new_slice(comptime!(ROWS * CHUNK));
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
    load(
        d,
        &mut d_tile,
        first,
        end,
        heads * width,
        head * width,
        unit,
        ROWS,
        width,
        width,
    );
    let mut sums = Array::<f32>::new(comptime!(columns * ROWS));
    #[unroll]
    for s in 0..columns * ROWS {
        sums[s] = 0.0f32;
    }
    let mut row_lse = Array::<f32>::new(EACH);
    let mut row_delta = Array::<f32>::new(EACH);
    #[unroll]
    for e in 0..EACH {
        // The last row in the place of a missing one: its result is not stored.
        let at = (first + min(warp + e * 4, rows - 1)) * heads + head;
        row_lse[e] = lse[at];
        row_delta[e] = delta[at];
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
            pitch,
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
            pitch,
        );
        sync_cube();
        #[unroll]
        for e in 0..EACH {
            let query = warp + e * 4;
            let mut score = 0.0f32;
            let mut d_weight = 0.0f32;
            for i in 0..width {
                score += q_tile[query * width + i] * keys[lane * pitch + i];
                d_weight += d_tile[query * width + i] * values[lane * pitch + i];
            }
            let mut d_score = 0.0f32;
            if query < rows && from + lane <= first + query {
                d_score = f32::exp(score * scale - row_lse[e]) * (d_weight - row_delta[e]) * scale;
            }
            d_scores[query * CHUNK + lane] = d_score;
        }
        sync_cube();
        accumulate(&mut sums, &d_scores, &keys, unit, ROWS, width, pitch);
        from += CHUNK;
    }
    store(&sums, y, first, rows, stride, head * width, unit, ROWS, width);
}

/// Computes the gradients of a tile's keys and values, for all query heads that share them.
#[cube(launch_unchecked)]
pub(crate) fn backward_dkv(
    qkv: &[f32],
    d: &[f32],
    lse: &[f32],
    delta: &[f32],
    tiles: &[u32],
    y: &mut [f32],
    heads: u32,
    kv_heads: u32,
    #[comptime] width: usize,
) {
    let lane = UNIT_POS_X as usize;
    let warp = UNIT_POS_Y as usize;
    let unit = warp * 32 + lane;
    let columns = comptime!(width.div_ceil(128));
    let pitch = comptime!(width + 1);
    let tile = CUBE_POS_X as usize * 4;
    let (first, rows, end) = (tiles[tile] as usize, tiles[tile + 1] as usize, tiles[tile + 3] as usize);
    let kv_head = CUBE_POS_Y as usize;
    let (heads, kv_heads) = (heads as usize, kv_heads as usize);
    let group = heads / kv_heads;
    let stride = (heads + 2 * kv_heads) * width;
    let (key_at, value_at) = ((heads + kv_head) * width, (heads + kv_heads + kv_head) * width);
    let mut keys = Shared::<[f32]>::new_slice(comptime!(ROWS * width));
    let mut values = Shared::<[f32]>::new_slice(comptime!(ROWS * width));
    let mut q_tile = Shared::<[f32]>::new_slice(comptime!(CHUNK * pitch));
    let mut d_tile = Shared::<[f32]>::new_slice(comptime!(CHUNK * pitch));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(ROWS * CHUNK));
    let mut d_scores = Shared::<[f32]>::new_slice(comptime!(ROWS * CHUNK));
    load(
        qkv,
        &mut keys,
        first,
        first + rows,
        stride,
        key_at,
        unit,
        ROWS,
        width,
        width,
    );
    load(
        qkv,
        &mut values,
        first,
        first + rows,
        stride,
        value_at,
        unit,
        ROWS,
        width,
        width,
    );
    let mut key_sums = Array::<f32>::new(comptime!(columns * ROWS));
    let mut value_sums = Array::<f32>::new(comptime!(columns * ROWS));
    #[unroll]
    for s in 0..columns * ROWS {
        key_sums[s] = 0.0f32;
        value_sums[s] = 0.0f32;
    }
    let scale = 1.0f32 / f32::sqrt(f32::cast_from(comptime!(width as u32)));
    for which in 0..group {
        let head = kv_head * group + which;
        let mut from = first;
        while from < end {
            sync_cube();
            load(
                qkv,
                &mut q_tile,
                from,
                end,
                stride,
                head * width,
                unit,
                CHUNK,
                width,
                pitch,
            );
            load(
                d,
                &mut d_tile,
                from,
                end,
                heads * width,
                head * width,
                unit,
                CHUNK,
                width,
                pitch,
            );
            sync_cube();
            #[unroll]
            for e in 0..EACH {
                let key = warp + e * 4;
                let mut score = 0.0f32;
                let mut d_weight = 0.0f32;
                for i in 0..width {
                    score += q_tile[lane * pitch + i] * keys[key * width + i];
                    d_weight += d_tile[lane * pitch + i] * values[key * width + i];
                }
                let mut weight = 0.0f32;
                let mut d_score = 0.0f32;
                if from + lane < end && first + key <= from + lane {
                    let at = (from + lane) * heads + head;
                    weight = f32::exp(score * scale - lse[at]);
                    d_score = weight * (d_weight - delta[at]) * scale;
                }
                weights[key * CHUNK + lane] = weight;
                d_scores[key * CHUNK + lane] = d_score;
            }
            sync_cube();
            accumulate(&mut key_sums, &d_scores, &q_tile, unit, ROWS, width, pitch);
            accumulate(&mut value_sums, &weights, &d_tile, unit, ROWS, width, pitch);
            from += CHUNK;
        }
    }
    store(&key_sums, y, first, rows, stride, key_at, unit, ROWS, width);
    store(&value_sums, y, first, rows, stride, value_at, unit, ROWS, width);
}
