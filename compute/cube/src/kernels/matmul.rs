//! Matrix products for training: singles times a matrix of any type, either factor transposed. Each sum is one chain
//! in the order of the inner index that may continue from what is there, so neither tiles nor passes change a bit.

use cubecl::prelude::*;

/// Threads of a cube.
pub(crate) const THREADS: u32 = 256;
/// Rows and outputs of a tile.
pub const TILE: usize = 64;
/// Inner steps between two synchronisations.
const STEP: usize = 16;
/// Length of a tile's row, one more than used, so that columns lie in different banks.
const PITCH: usize = TILE + 1;
/// Mode bit: sums start with what is there instead of zero.
pub const CHAIN: u32 = 1;
/// Mode bit: sums start with a bias.
pub const BEGIN: u32 = 2;

/// Computes `y[m, n] = scale · Σ_k left[m, k] · right[k, n]`. A transposed left is stored as `[k, m]`, a transposed
/// right as `[n, k]`. Strides are those of the stored rows; each matrix may be some columns of wider rows.
#[cube(launch_unchecked)]
pub(crate) fn matmul<W: Float>(
    left: &[f32],
    right: &[W],
    bias: &[f32],
    y: &mut [f32],
    left_at: u32,
    left_stride: u32,
    right_at: u32,
    right_stride: u32,
    y_at: u32,
    y_stride: u32,
    rows: u32,
    inner: u32,
    outs: u32,
    scale: f32,
    mode: u32,
    #[comptime] left_transposed: bool,
    #[comptime] right_transposed: bool,
) {
    let unit = UNIT_POS_X as usize;
    let (across, down) = (unit % 16, unit / 16);
    let (out, row) = (CUBE_POS_X as usize * TILE, CUBE_POS_Y as usize * TILE);
    let (rows, inner, outs) = (rows as usize, inner as usize, outs as usize);
    let (left_stride, right_stride) = (left_stride as usize, right_stride as usize);
    let mut tile_left = Shared::<[f32]>::new_slice(comptime!(STEP * PITCH));
    let mut tile_right = Shared::<[f32]>::new_slice(comptime!(STEP * PITCH));
    let mut sums = Array::<f32>::new(16usize);
    #[unroll]
    for i in 0..4usize {
        #[unroll]
        for j in 0..4usize {
            let (m, n) = (row + down * 4 + i, out + across + j * 16);
            let mut begin = 0.0f32;
            if m < rows && n < outs {
                if mode & CHAIN != 0 {
                    begin = y[y_at as usize + m * y_stride as usize + n];
                }
                if mode & BEGIN != 0 {
                    begin += bias[n];
                }
            }
            sums[i * 4 + j] = begin;
        }
    }
    let mut k = 0usize;
    while k < inner {
        #[unroll]
        for s in 0..4usize {
            // Neighbouring threads load neighbouring numbers.
            let (m, at) = if comptime!(left_transposed) {
                (unit % 64, s * 4 + unit / 64)
            } else {
                (s * 16 + unit / 16, unit % 16)
            };
            let mut single = 0.0f32;
            if row + m < rows && k + at < inner {
                let offset = if comptime!(left_transposed) {
                    (k + at) * left_stride + row + m
                } else {
                    (row + m) * left_stride + k + at
                };
                single = left[left_at as usize + offset];
            }
            tile_left[at * PITCH + m] = single;
            let (n, at) = if comptime!(right_transposed) {
                (s * 16 + unit / 16, unit % 16)
            } else {
                (unit % 64, s * 4 + unit / 64)
            };
            let mut single = 0.0f32;
            if out + n < outs && k + at < inner {
                let offset = if comptime!(right_transposed) {
                    (out + n) * right_stride + k + at
                } else {
                    (k + at) * right_stride + out + n
                };
                single = f32::cast_from(right[right_at as usize + offset]);
            }
            tile_right[at * PITCH + n] = single;
        }
        sync_cube();
        #[unroll]
        for at in 0..STEP {
            let mut lefts = Array::<f32>::new(4usize);
            let mut rights = Array::<f32>::new(4usize);
            #[unroll]
            for i in 0..4usize {
                lefts[i] = tile_left[at * PITCH + down * 4 + i];
                rights[i] = tile_right[at * PITCH + across + i * 16];
            }
            #[unroll]
            for i in 0..4usize {
                #[unroll]
                for j in 0..4usize {
                    sums[i * 4 + j] += lefts[i] * rights[j];
                }
            }
        }
        sync_cube();
        k += STEP;
    }
    #[unroll]
    for i in 0..4usize {
        #[unroll]
        for j in 0..4usize {
            let (m, n) = (row + down * 4 + i, out + across + j * 16);
            if m < rows && n < outs {
                y[y_at as usize + m * y_stride as usize + n] = sums[i * 4 + j] * scale;
            }
        }
    }
}
