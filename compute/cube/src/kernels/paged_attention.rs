//! Attention over keys and values in pages, `[page][head][position][width]`.

use cubecl::prelude::*;

use super::tile::{CHUNK, LOWEST, accumulate, online_softmax, rescale};

/// Applies norms and rope to queries and keys, and writes keys and values to their pages. A warp for each head of
/// each row; a row of `qkv` is queries, keys and values side by side.
#[cube(launch_unchecked)]
pub(crate) fn write_kv<E: Float>(
    qkv: &mut [f32],
    gains: &[f32],
    cos: &[f32],
    sin: &[f32],
    kv_slots: &[u32],
    keys: &mut [E],
    values: &mut [E],
    heads: u32,
    kv_heads: u32,
    page_tokens: u32,
    epsilon: f32,
    #[comptime] width: usize,
    #[comptime] normed: bool,
) {
    let half = comptime!(width / 2);
    let each = comptime!(width.div_ceil(64));
    let lane = UNIT_POS_X as usize;
    let row = CUBE_POS_X as usize;
    let head = CUBE_POS_Y * CUBE_DIM_Y + UNIT_POS_Y;
    let all = heads + 2 * kv_heads;
    if head < all {
        let from = (row * all as usize + head as usize) * width;
        let mut low = Array::<f32>::new(each);
        let mut high = Array::<f32>::new(each);
        #[unroll]
        for e in 0..each {
            let i = min(lane + e * 32, half - 1);
            low[e] = qkv[from + i];
            high[e] = qkv[from + half + i];
        }
        if head < heads + kv_heads {
            if normed {
                let mut square = 0.0f32;
                #[unroll]
                for e in 0..each {
                    if lane + e * 32 < half {
                        square += low[e] * low[e] + high[e] * high[e];
                    }
                }
                let mean = plane_sum(square) / f32::cast_from(comptime!(width as u32));
                let factor = 1.0f32 / f32::sqrt(mean + epsilon);
                // Gains of queries come first, then those of keys.
                let gain = select(head < heads, 0u32, comptime!(width as u32)) as usize;
                #[unroll]
                for e in 0..each {
                    let i = min(lane + e * 32, half - 1);
                    low[e] = low[e] * factor * gains[gain + i];
                    high[e] = high[e] * factor * gains[gain + half + i];
                }
            }
            #[unroll]
            for e in 0..each {
                let i = min(lane + e * 32, half - 1);
                let (c, s) = (cos[row * half + i], sin[row * half + i]);
                let (a, b) = (low[e], high[e]);
                low[e] = a * c - b * s;
                high[e] = b * c + a * s;
            }
        }
        let (page, inside) = (kv_slots[row * 2], kv_slots[row * 2 + 1]);
        #[unroll]
        for e in 0..each {
            let i = lane + e * 32;
            if i < half {
                if head < heads {
                    qkv[from + i] = low[e];
                    qkv[from + half + i] = high[e];
                } else if head < heads + kv_heads {
                    let to = ((page * kv_heads + head - heads) * page_tokens + inside) as usize * width;
                    keys[to + i] = E::cast_from(low[e]);
                    keys[to + half + i] = E::cast_from(high[e]);
                } else {
                    let to = ((page * kv_heads + head - heads - kv_heads) * page_tokens + inside) as usize * width;
                    values[to + i] = E::cast_from(low[e]);
                    values[to + half + i] = E::cast_from(high[e]);
                }
            }
        }
    }
}

/// Copies the first positions of a page to another: a cube for each head, of keys and of values.
#[cube(launch_unchecked)]
pub(crate) fn copy_page<E: Float>(pool: &mut [E], from: u32, to: u32, singles: u32, head_singles: u32) {
    let head = CUBE_POS_X * head_singles;
    let page = CUBE_COUNT_X * head_singles;
    let mut i = UNIT_POS_X;
    while i < singles {
        pool[to as usize * page as usize + (head + i) as usize] =
            pool[from as usize * page as usize + (head + i) as usize];
        i += CUBE_DIM_X;
    }
}

/// Attention of a tile of rows of one sequence, for all query heads that share a key head, over a part of the
/// positions.
///
/// A tile is its first row, number of rows, position of the first row, offset of its sequence's pages, and the number
/// of rows in the tiles before it. With one part the result goes to `out`. With several, the greatest score, the sum
/// of weights and the weighted values of each go to `parts` for [`combine`].
#[cube(launch_unchecked)]
pub(crate) fn paged_attention<E: Float, V: Size>(
    qkv: &[f32],
    keys: &[Vector<E, V>],
    values: &[Vector<E, V>],
    tiles: &[u32],
    pages: &[u32],
    out: &mut [f32],
    parts: &mut [f32],
    heads: u32,
    kv_heads: u32,
    page_tokens: u32,
    part_tokens: u32,
    #[comptime] width: usize,
    #[comptime] queries: usize,
) {
    let lane = UNIT_POS_X as usize;
    let warp = UNIT_POS_Y as usize;
    let unit = warp * 32 + lane;
    let each = comptime!(queries.div_ceil(4));
    let columns = comptime!(width.div_ceil(128));
    let tile = CUBE_POS_X as usize * 5;
    let (first, rows) = (tiles[tile], tiles[tile + 1]);
    let (position, table) = (tiles[tile + 2], tiles[tile + 3]);
    let kv_head = CUBE_POS_Y;
    let group = heads / kv_heads;
    let held = (rows * group) as usize;
    let row_width = (heads + 2 * kv_heads) as usize * width;
    let vectors = width / V::value();
    let mut q_tile = Shared::<[f32]>::new_slice(comptime!(queries * width));
    let mut held_keys = Shared::<[f32]>::new_slice(comptime!(CHUNK * (width + 1)));
    let mut held_values = Shared::<[f32]>::new_slice(comptime!(CHUNK * width));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(queries * CHUNK));
    let mut rescales = Shared::<[f32]>::new_slice(queries);
    let mut totals = Shared::<[f32]>::new_slice(queries);
    let mut i = unit;
    while i < comptime!(queries * width) {
        let query = i / width;
        let mut single = 0.0f32;
        if query < held {
            let row = first as usize + query / group as usize;
            let head = (kv_head * group) as usize + query % group as usize;
            single = qkv[row * row_width + head * width + i % width];
        }
        q_tile[i] = single;
        i += 128usize;
    }
    let mut greatest = Array::<f32>::new(each);
    let mut total = Array::<f32>::new(each);
    #[unroll]
    for e in 0..each {
        greatest[e] = LOWEST;
        total[e] = 0.0f32;
    }
    let mut sums = Array::<f32>::new(comptime!(columns * queries));
    #[unroll]
    for s in 0..columns * queries {
        sums[s] = 0.0f32;
    }
    let scale = 1.0f32 / f32::sqrt(f32::cast_from(comptime!(width as u32)));
    let mut from = CUBE_POS_Z * part_tokens;
    let end = min(from + part_tokens, position + rows);
    while from < end {
        sync_cube();
        let mut i = unit;
        while i < CHUNK * vectors {
            let token = from + (i / vectors) as u32;
            let column = i % vectors;
            if token < end {
                let page = pages[(table + token / page_tokens) as usize];
                let at = ((page * kv_heads + kv_head) * page_tokens + token % page_tokens) as usize * vectors + column;
                let key = Vector::<f32, V>::cast_from(keys[at]);
                let value = Vector::<f32, V>::cast_from(values[at]);
                #[unroll]
                for j in 0..V::value() {
                    held_keys[i / vectors * (width + 1) + column * V::value() + j] = key.extract(j);
                    held_values[i / vectors * width + column * V::value() + j] = value.extract(j);
                }
            } else {
                // Zeros, since a weight of zero times NaN from unused memory would be NaN.
                #[unroll]
                for j in 0..V::value() {
                    held_values[i / vectors * width + column * V::value() + j] = 0.0f32;
                }
            }
            i += 128usize;
        }
        sync_cube();
        #[unroll]
        for e in 0..each {
            let query = warp + e * 4;
            if query < queries {
                let token = from + lane as u32;
                let seen = token < end && token <= position + query as u32 / group;
                online_softmax(
                    &q_tile,
                    &held_keys,
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
        }
        sync_cube();
        rescale(&mut sums, &rescales, unit, queries, width);
        accumulate(&mut sums, &weights, &held_values, unit, queries, width, width);
        from += comptime!(CHUNK as u32);
    }
    // Other threads may still read what is overwritten below.
    sync_cube();
    #[unroll]
    for e in 0..each {
        let query = warp + e * 4;
        if query < queries && lane == 0 {
            totals[query] = total[e];
            rescales[query] = greatest[e];
        }
    }
    sync_cube();
    #[unroll]
    for query in 0..queries {
        if query < held {
            let row = first as usize + query / group as usize;
            let head = (kv_head * group) as usize + query % group as usize;
            let at = row * heads as usize + head;
            let nth = (tiles[tile + 4] as usize + query / group as usize) * heads as usize + head;
            let part = (nth * CUBE_COUNT_Z as usize + CUBE_POS_Z as usize) * (width + 2);
            #[unroll]
            for c in 0..columns {
                let column = unit + c * 128;
                if column < width {
                    if CUBE_COUNT_Z == 1 {
                        out[at * width + column] = sums[c * queries + query] / totals[query];
                    } else {
                        parts[part + 2 + column] = sums[c * queries + query];
                    }
                }
            }
            if unit == 0 && CUBE_COUNT_Z != 1 {
                parts[part] = rescales[query];
                parts[part + 1] = totals[query];
            }
        }
    }
}

/// Combines the parts of [`paged_attention`] in their order. A cube for each head of each row with parts; `which`
/// lists those rows.
#[cube(launch_unchecked)]
pub(crate) fn combine(parts: &[f32], which: &[u32], out: &mut [f32], count: u32, width: u32, heads: u32) {
    let nth = CUBE_POS_X as usize;
    let at = (which[(CUBE_POS_X / heads) as usize] * heads + CUBE_POS_X % heads) as usize;
    let width = width as usize;
    let stride = width + 2;
    let begin = nth * count as usize * stride;
    let mut most = f32::new(LOWEST);
    for part in 0..count as usize {
        most = max(most, parts[begin + part * stride]);
    }
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let mut total = 0.0f32;
        let mut sum = 0.0f32;
        for part in 0..count as usize {
            let from = begin + part * stride;
            let factor = f32::exp(parts[from] - most);
            total += parts[from + 1] * factor;
            sum += parts[from + 2 + column] * factor;
        }
        out[at * width + column] = sum / total;
        column += CUBE_DIM_X as usize;
    }
}
