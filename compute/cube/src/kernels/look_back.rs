//! Attention inside each sequence of a pass backwards. Weights are computed again from the logarithms that
//! [`look`](super::look::look) left.

use cubecl::prelude::*;

use super::{
    look::{EACH, ROWS},
    tile::{CHUNK, gather, load, put},
};

/// Gradients of a tile's queries of one head.
#[cube(launch_unchecked)]
pub(crate) fn look_back_queries(
    qkv: &[f32],
    d: &[f32],
    logs: &[f32],
    dots: &[f32],
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
    let mut asked = Shared::<[f32]>::new_slice(comptime!(ROWS * width));
    let mut told = Shared::<[f32]>::new_slice(comptime!(ROWS * width));
    let mut keys = Shared::<[f32]>::new_slice(comptime!(CHUNK * pitch));
    let mut values = Shared::<[f32]>::new_slice(comptime!(CHUNK * pitch));
    let mut pulls = Shared::<[f32]>::new_slice(comptime!(ROWS * CHUNK));
    load(
        qkv,
        &mut asked,
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
        &mut told,
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
    let mut log = Array::<f32>::new(EACH);
    let mut dot = Array::<f32>::new(EACH);
    #[unroll]
    for e in 0..EACH {
        // Of a row that is not there, whatever the last one has: nothing comes of it.
        let at = (first + min(warp + e * 4, rows - 1)) * heads + head;
        log[e] = logs[at];
        dot[e] = dots[at];
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
            let mut along = 0.0f32;
            for i in 0..width {
                score += asked[query * width + i] * keys[lane * pitch + i];
                along += told[query * width + i] * values[lane * pitch + i];
            }
            let mut pull = 0.0f32;
            if query < rows && from + lane <= first + query {
                pull = f32::exp(score * scale - log[e]) * (along - dot[e]) * scale;
            }
            pulls[query * CHUNK + lane] = pull;
        }
        sync_cube();
        gather(&mut sums, &pulls, &keys, unit, ROWS, width, pitch);
        from += CHUNK;
    }
    put(&sums, y, first, rows, stride, head * width, unit, ROWS, width);
}

/// Gradients of a tile's keys and values, for all queries that share them.
#[cube(launch_unchecked)]
pub(crate) fn look_back_keys(
    qkv: &[f32],
    d: &[f32],
    logs: &[f32],
    dots: &[f32],
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
    let mut asked = Shared::<[f32]>::new_slice(comptime!(CHUNK * pitch));
    let mut told = Shared::<[f32]>::new_slice(comptime!(CHUNK * pitch));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(ROWS * CHUNK));
    let mut pulls = Shared::<[f32]>::new_slice(comptime!(ROWS * CHUNK));
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
                &mut asked,
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
                &mut told,
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
                let mut along = 0.0f32;
                for i in 0..width {
                    score += asked[lane * pitch + i] * keys[key * width + i];
                    along += told[lane * pitch + i] * values[key * width + i];
                }
                let mut weight = 0.0f32;
                let mut pull = 0.0f32;
                if from + lane < end && first + key <= from + lane {
                    let at = (from + lane) * heads + head;
                    weight = f32::exp(score * scale - logs[at]);
                    pull = weight * (along - dots[at]) * scale;
                }
                weights[key * CHUNK + lane] = weight;
                pulls[key * CHUNK + lane] = pull;
            }
            sync_cube();
            gather(&mut key_sums, &pulls, &asked, unit, ROWS, width, pitch);
            gather(&mut value_sums, &weights, &told, unit, ROWS, width, pitch);
            from += CHUNK;
        }
    }
    put(&key_sums, y, first, rows, stride, key_at, unit, ROWS, width);
    put(&value_sums, y, first, rows, stride, value_at, unit, ROWS, width);
}
