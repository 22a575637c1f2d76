//! Backward pass of norms and the gated activation, and rope in both directions.

use cubecl::prelude::*;

/// Warps of a cube in [`rope`] and [`rope_backward`].
pub(crate) const ROPE_WARPS: u32 = 4;
const WARPS: usize = 8;

/// Adds the gradient through a norm to `onto`: `f · (g d - x · f² · mean(x g d))`. A cube for each row.
#[cube(launch_unchecked)]
pub(crate) fn norm_backward(x: &[f32], gain: &[f32], d: &[f32], onto: &mut [f32], width: u32, epsilon: f32) {
    let start = CUBE_POS_X as usize * width as usize;
    let unit = UNIT_POS_X as usize;
    let width = width as usize;
    let mut square = 0.0f32;
    let mut along = 0.0f32;
    let mut i = unit;
    while i < width {
        let single = x[start + i];
        square += single * single;
        along += single * gain[i] * d[start + i];
        i += 256usize;
    }
    let mut squares = Shared::<[f32]>::new_slice(WARPS);
    let mut alongs = Shared::<[f32]>::new_slice(WARPS);
    let (square, along) = (plane_sum(square), plane_sum(along));
    if unit % 32usize == 0 {
        squares[unit / 32usize] = square;
        alongs[unit / 32usize] = along;
    }
    sync_cube();
    let mut square = 0.0f32;
    let mut along = 0.0f32;
    #[unroll]
    for w in 0..WARPS {
        square += squares[w];
        along += alongs[w];
    }
    let count = f32::cast_from(width as u32);
    let factor = 1.0f32 / f32::sqrt(square / count + epsilon);
    let pull = along * factor * factor / count;
    let mut i = unit;
    while i < width {
        onto[start + i] += factor * (gain[i] * d[start + i] - x[start + i] * pull);
        i += 256usize;
    }
}

/// Computes the gradients of gate and up, side by side.
#[cube(launch_unchecked)]
pub(crate) fn swiglu_backward(x: &[f32], d: &[f32], y: &mut [f32], width: u32) {
    let row = CUBE_POS_Y as usize;
    let column = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    let width = width as usize;
    if column < width {
        let gate = x[row * width * 2 + column];
        let up = x[row * width * 2 + width + column];
        let single = d[row * width + column];
        let open = 1.0f32 / (1.0f32 + f32::exp(0.0f32 - gate));
        y[row * width * 2 + column] = single * up * open * (1.0f32 + gate * (1.0f32 - open));
        y[row * width * 2 + width + column] = single * gate * open;
    }
}

/// Applies norms and rope to queries and keys, and copies values. A warp for each head of each row; a row is queries,
/// keys and values side by side.
#[cube(launch_unchecked)]
pub(crate) fn rope(
    qkv: &[f32],
    gains: &[f32],
    cos: &[f32],
    sin: &[f32],
    y: &mut [f32],
    heads: u32,
    kv_heads: u32,
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
        let mut factor = 1.0f32;
        if normed {
            let mut square = 0.0f32;
            #[unroll]
            for e in 0..each {
                let i = lane + e * 32;
                if i < half {
                    square += qkv[from + i] * qkv[from + i] + qkv[from + half + i] * qkv[from + half + i];
                }
            }
            let mean = plane_sum(square) / f32::cast_from(comptime!(width as u32));
            factor = 1.0f32 / f32::sqrt(mean + epsilon);
        }
        // Gains of queries come first, then those of keys.
        let gain = select(head < heads, 0u32, comptime!(width as u32)) as usize;
        #[unroll]
        for e in 0..each {
            let i = lane + e * 32;
            if i < half {
                let mut low = qkv[from + i];
                let mut high = qkv[from + half + i];
                if head < heads + kv_heads {
                    if normed {
                        low = low * factor * gains[gain + i];
                        high = high * factor * gains[gain + half + i];
                    }
                    let (c, s) = (cos[row * half + i], sin[row * half + i]);
                    // In CubeCL a copy of a variable is an alias of it, so `low` is assigned last.
                    let rotated = low * c - high * s;
                    high = high * c + low * s;
                    low = rotated;
                }
                y[from + i] = low;
                y[from + half + i] = high;
            }
        }
    }
}

/// Replaces the gradients of queries and keys by those before [`rope`].
#[cube(launch_unchecked)]
pub(crate) fn rope_backward(
    qkv: &[f32],
    gains: &[f32],
    cos: &[f32],
    sin: &[f32],
    d: &mut [f32],
    heads: u32,
    kv_heads: u32,
    epsilon: f32,
    #[comptime] width: usize,
    #[comptime] normed: bool,
) {
    let half = comptime!(width / 2);
    let each = comptime!(width.div_ceil(64));
    let lane = UNIT_POS_X as usize;
    let row = CUBE_POS_X as usize;
    let head = CUBE_POS_Y * CUBE_DIM_Y + UNIT_POS_Y;
    if head < heads + kv_heads {
        let from = (row * (heads + 2 * kv_heads) as usize + head as usize) * width;
        let gain = select(head < heads, 0u32, comptime!(width as u32)) as usize;
        let mut low = Array::<f32>::new(each);
        let mut high = Array::<f32>::new(each);
        let mut square = 0.0f32;
        let mut along = 0.0f32;
        #[unroll]
        for e in 0..each {
            let i = lane + e * 32;
            low[e] = 0.0f32;
            high[e] = 0.0f32;
            if i < half {
                let (c, s) = (cos[row * half + i], sin[row * half + i]);
                let (a, b) = (d[from + i], d[from + half + i]);
                low[e] = a * c + b * s;
                high[e] = b * c - a * s;
                if normed {
                    let (x, z) = (qkv[from + i], qkv[from + half + i]);
                    low[e] *= gains[gain + i];
                    high[e] *= gains[gain + half + i];
                    square += x * x + z * z;
                    along += x * low[e] + z * high[e];
                }
            }
        }
        let mut factor = 1.0f32;
        let mut pull = 0.0f32;
        if normed {
            let count = f32::cast_from(comptime!(width as u32));
            factor = 1.0f32 / f32::sqrt(plane_sum(square) / count + epsilon);
            pull = plane_sum(along) * factor * factor / count;
        }
        #[unroll]
        for e in 0..each {
            let i = lane + e * 32;
            if i < half {
                let mut a = low[e];
                let mut b = high[e];
                if normed {
                    a = factor * (a - qkv[from + i] * pull);
                    b = factor * (b - qkv[from + half + i] * pull);
                }
                d[from + i] = a;
                d[from + half + i] = b;
            }
        }
    }
}
