//! Attention inside each sequence of a pass, forth and back. A row is queries, keys and values side by side, as
//! [`turn`](super::back::turn) leaves them.
//!
//! Nothing of the size of a sequence's square is kept: forth leaves the logarithm of each query's sum, from which the way
//! back computes its weights again. Sums over queries and keys run in their order, a cube for each tile.
//!
//! A tile is its first row, its rows, and where its sequence begins and ends.

use cubecl::prelude::*;

/// Warps of a cube in all of them.
pub(crate) const WARPS: u32 = 4;
/// Rows of a tile.
pub const ROWS: usize = 8;
/// Rows of a warp.
const EACH: usize = 2;
/// Rows that a tile meets at once: one for each lane.
const CHUNK: usize = 32;
/// Lower than any score.
const NOTHING: f32 = -1.0e30;

/// Rows of a part of a wide row into shared memory; zeros for those that are not there.
#[cube]
fn load(
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

/// What each row of a tile gathers from its own and those before it, for one head of queries.
#[cube(launch_unchecked)]
pub(crate) fn look(
    qkv: &[f32],
    tiles: &[u32],
    out: &mut [f32],
    logs: &mut [f32],
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
    let mut asked = Shared::<[f32]>::new_slice(comptime!(ROWS * width));
    let mut keys = Shared::<[f32]>::new_slice(comptime!(CHUNK * (width + 1)));
    let mut values = Shared::<[f32]>::new_slice(comptime!(CHUNK * width));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(ROWS * CHUNK));
    let mut shrinks = Shared::<[f32]>::new_slice(ROWS);
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
    let mut greatest = Array::<f32>::new(EACH);
    let mut total = Array::<f32>::new(EACH);
    #[unroll]
    for e in 0..EACH {
        greatest[e] = NOTHING;
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
            // In two sums: what a score is off by comes back as so much of its weight.
            let half = comptime!(width / 2);
            let mut score = 0.0f32;
            let mut upper = 0.0f32;
            for d in 0..half {
                score += asked[query * width + d] * keys[lane * comptime!(width + 1) + d];
                upper += asked[query * width + half + d] * keys[lane * comptime!(width + 1) + half + d];
            }
            score += upper;
            let seen = from + lane <= first + query && from + lane < end;
            score = select(seen, score * scale, NOTHING);
            let most = max(greatest[e], plane_max(score));
            let weight = select(seen, f32::exp(score - most), 0.0f32);
            let shrink = f32::exp(greatest[e] - most);
            total[e] = total[e] * shrink + plane_sum(weight);
            greatest[e] = most;
            weights[query * CHUNK + lane] = weight;
            if lane == 0 {
                shrinks[query] = shrink;
            }
        }
        sync_cube();
        #[unroll]
        for c in 0..columns {
            let column = unit + c * 128;
            if column < width {
                #[unroll]
                for query in 0..ROWS {
                    sums[c * ROWS + query] *= shrinks[query];
                }
                for token in 0..CHUNK {
                    let value = values[token * width + column];
                    #[unroll]
                    for query in 0..ROWS {
                        sums[c * ROWS + query] += weights[query * CHUNK + token] * value;
                    }
                }
            }
        }
        from += CHUNK;
    }
    // Others may still multiply with what is replaced here.
    sync_cube();
    #[unroll]
    for e in 0..EACH {
        let query = warp + e * 4;
        if lane == 0 {
            shrinks[query] = total[e];
            if query < rows {
                logs[(first + query) * heads + head] = greatest[e] + f32::ln(total[e]);
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
                    out[((first + query) * heads + head) * width + column] = sums[c * ROWS + query] / shrinks[query];
                }
            }
        }
    }
}

/// Products of what was gathered with its gradient, a warp for each head of each row.
#[cube(launch_unchecked)]
pub(crate) fn dots(out: &[f32], d: &[f32], y: &mut [f32], heads: u32, width: u32) {
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
        #[unroll]
        for c in 0..columns {
            let column = unit + c * 128;
            if column < width {
                for token in 0..CHUNK {
                    let key = keys[token * pitch + column];
                    #[unroll]
                    for query in 0..ROWS {
                        sums[c * ROWS + query] += pulls[query * CHUNK + token] * key;
                    }
                }
            }
        }
        from += CHUNK;
    }
    #[unroll]
    for query in 0..ROWS {
        if query < rows {
            #[unroll]
            for c in 0..columns {
                let column = unit + c * 128;
                if column < width {
                    y[(first + query) * stride + head * width + column] = sums[c * ROWS + query];
                }
            }
        }
    }
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
            #[unroll]
            for c in 0..columns {
                let column = unit + c * 128;
                if column < width {
                    for query in 0..CHUNK {
                        let (q, t) = (asked[query * pitch + column], told[query * pitch + column]);
                        #[unroll]
                        for key in 0..ROWS {
                            key_sums[c * ROWS + key] += pulls[key * CHUNK + query] * q;
                            value_sums[c * ROWS + key] += weights[key * CHUNK + query] * t;
                        }
                    }
                }
            }
            from += CHUNK;
        }
    }
    #[unroll]
    for key in 0..ROWS {
        if key < rows {
            #[unroll]
            for c in 0..columns {
                let column = unit + c * 128;
                if column < width {
                    y[(first + key) * stride + key_at + column] = key_sums[c * ROWS + key];
                    y[(first + key) * stride + value_at + column] = value_sums[c * ROWS + key];
                }
            }
        }
    }
}
