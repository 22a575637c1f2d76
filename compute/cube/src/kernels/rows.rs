//! Kernels on single rows of activations.

use cubecl::prelude::*;

/// Threads of a cube in [`norm`].
pub(crate) const NORM_THREADS: u32 = 256;
const NORM_WARPS: usize = 8;

/// Looks up rows of the embedding by token.
#[cube(launch_unchecked)]
pub(crate) fn embed<W: Float>(table: &[W], tokens: &[u32], y: &mut [f32], width: u32) {
    let row = CUBE_POS_Y as usize;
    let column = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    let width = width as usize;
    if column < width {
        y[row * width + column] = f32::cast_from(table[tokens[row] as usize * width + column]);
    }
}

/// Gathers some rows.
#[cube(launch_unchecked)]
pub(crate) fn gather_rows(x: &[f32], wanted: &[u32], y: &mut [f32], width: u32) {
    let row = CUBE_POS_Y as usize;
    let column = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    let width = width as usize;
    if column < width {
        y[row * width + column] = x[wanted[row] as usize * width + column];
    }
}

/// Divides each row by its root mean square and multiplies by the gain. A cube for each row.
#[cube(launch_unchecked)]
pub(crate) fn norm(x: &[f32], gain: &[f32], y: &mut [f32], width: u32, epsilon: f32) {
    let start = CUBE_POS_X as usize * width as usize;
    let unit = UNIT_POS_X as usize;
    let warp = unit / 32usize;
    let width = width as usize;
    let mut square = 0.0f32;
    let mut i = unit;
    while i < width {
        let single = x[start + i];
        square += single * single;
        i += 256usize;
    }
    let mut sums = Shared::<[f32]>::new_slice(NORM_WARPS);
    let part = plane_sum(square);
    if unit % 32usize == 0 {
        sums[warp] = part;
    }
    sync_cube();
    let mut total = 0.0f32;
    #[unroll]
    for w in 0..NORM_WARPS {
        total += sums[w];
    }
    let factor = 1.0f32 / f32::sqrt(total / f32::cast_from(width as u32) + epsilon);
    let mut i = unit;
    while i < width {
        y[start + i] = x[start + i] * factor * gain[i];
        i += 256usize;
    }
}

/// Computes `silu(gate) · up` of rows that hold both side by side.
#[cube(launch_unchecked)]
pub(crate) fn swiglu(x: &[f32], y: &mut [f32], width: u32) {
    let row = CUBE_POS_Y as usize;
    let column = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    let width = width as usize;
    if column < width {
        let gate = x[row * width * 2 + column];
        let up = x[row * width * 2 + width + column];
        y[row * width + column] = gate / (1.0f32 + f32::exp(0.0f32 - gate)) * up;
    }
}
