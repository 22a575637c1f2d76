//! Linear layers: weights `[out, in]` as stored, activations in singles.
//!
//! For few rows ([`gemv`]), each warp reads some rows of weights once for all activations. For many rows and 16-bit
//! weights ([`gemm`]), tiles go through tensor cores, and the products of parts of the columns are added in order.

use cubecl::{cmma, prelude::*};

/// Warps of a cube in both kernels.
pub(crate) const WARPS: u32 = 4;
/// Mode bit: adds the result to what is there.
pub const ADD: u32 = 1;
/// Mode bit: adds a bias.
pub const BIAS: u32 = 2;

#[cube]
fn store(y: &mut [f32], bias: &[f32], at: usize, out: usize, sum: f32, mode: u32) {
    let mut value = sum;
    if mode & BIAS != 0 {
        value += bias[out];
    }
    if mode & ADD != 0 {
        value += y[at];
    }
    y[at] = value;
}

/// Computes `y = W x` for tiles of `tile` rows; each warp has `outs_each` outputs.
#[cube(launch_unchecked)]
pub(crate) fn gemv<W: Float, V: Size>(
    w: &[Vector<W, V>],
    x: &[Vector<f32, V>],
    bias: &[f32],
    y: &mut [f32],
    vectors: u32,
    outs: u32,
    rows: u32,
    mode: u32,
    #[comptime] tile: usize,
    #[comptime] outs_each: usize,
) {
    let lane = UNIT_POS_X as usize;
    let first = (CUBE_POS_X * CUBE_DIM_Y + UNIT_POS_Y) as usize * outs_each;
    let row = CUBE_POS_Y as usize * tile;
    let (vectors, outs, rows) = (vectors as usize, outs as usize, rows as usize);
    let mut sums = Array::<f32>::new(comptime!(tile * outs_each));
    let mut weights = Array::<Vector<f32, V>>::new(outs_each);
    #[unroll]
    for i in 0..tile * outs_each {
        sums[i] = 0.0f32;
    }
    let mut i = lane;
    while i < vectors {
        #[unroll]
        for o in 0..outs_each {
            // The last output in the place of a missing one: its result is not stored.
            let out = min(first + o, outs - 1);
            weights[o] = Vector::<f32, V>::cast_from(w[out * vectors + i]);
        }
        #[unroll]
        for m in 0..tile {
            let single = x[min(row + m, rows - 1) * vectors + i];
            #[unroll]
            for o in 0..outs_each {
                let products = weights[o] * single;
                #[unroll]
                for j in 0..V::value() {
                    sums[m * outs_each + o] += products.extract(j);
                }
            }
        }
        i += 32usize;
    }
    #[unroll]
    for m in 0..tile {
        #[unroll]
        for o in 0..outs_each {
            let sum = plane_sum(sums[m * outs_each + o]);
            let out = first + o;
            if lane == 0 && out < outs && row + m < rows {
                store(y, bias, (row + m) * outs + out, out, sum, mode);
            }
        }
    }
}

/// Multiplies 64 outputs with `16 · fragments` rows over a part of the columns, for [`sum_parts`] to add. The layout
/// of `parts` is `[part][rows, padded][outputs, padded]`.
///
/// With `backward` the product is with the transpose: outputs are the weights' columns, and `x` has a number for each
/// of their rows.
#[cube(launch_unchecked)]
pub(crate) fn gemm<W: Float, V: Size>(
    w: &[Vector<W, V>],
    x: &[Vector<f32, V>],
    parts: &mut [f32],
    vectors: u32,
    outs: u32,
    rows: u32,
    part_vectors: u32,
    #[comptime] fragments: usize,
    #[comptime] backward: bool,
) {
    let unit = (UNIT_POS_Y * 32 + UNIT_POS_X) as usize;
    let warp = UNIT_POS_Y as usize;
    let (vectors, outs, rows) = (vectors as usize, outs as usize, rows as usize);
    let out = CUBE_POS_X as usize * 64usize;
    let row = CUBE_POS_Y as usize * comptime!(fragments * 16);
    let begin = CUBE_POS_Z as usize * part_vectors as usize;
    let end = min(begin + part_vectors as usize, vectors);
    // Rows of a tile are 8 vectors and one spare, so that they start in different banks.
    let mut tile_w = Shared::<[Vector<W, V>]>::new_aligned_slice(comptime!(64usize * 9usize), 32usize);
    let mut tile_x = Shared::<[Vector<W, V>]>::new_aligned_slice(comptime!(fragments * 16 * 9), 32usize);
    let mut next_w = Array::<Vector<W, V>>::new(4usize);
    let x_each = comptime!(if fragments == 1 { 1 } else { fragments });
    let mut next_x = Array::<Vector<W, V>>::new(x_each);
    let mut sums = Sequence::<cmma::Matrix<f32>>::new();
    #[unroll]
    for _ in 0..fragments {
        sums.push(cmma::Matrix::<f32>::from_value(
            cmma::MatrixIdent::Accumulator,
            16usize,
            16usize,
            16usize,
            cmma::MatrixLayout::Undefined,
            0.0,
        ));
    }
    let mut k = begin;
    let mut fetched = false;
    while k < end || fetched {
        if fetched {
            #[unroll]
            for s in 0..4usize {
                let v = s * 128 + unit;
                tile_w[v / 8 * 9 + v % 8] = next_w[s];
            }
            #[unroll]
            for s in 0..x_each {
                let v = s * 128 + unit;
                tile_x[v / 8 * 9 + v % 8] = next_x[s];
            }
            sync_cube();
        }
        let have = fetched;
        fetched = k < end;
        // The next step's operands are loaded while this step multiplies.
        if fetched {
            #[unroll]
            for s in 0..4usize {
                let v = s * 128 + unit;
                if comptime!(backward) {
                    let wide = outs / V::value();
                    let at = k * V::value() + v / 8;
                    let column = min(out / V::value() + v % 8, wide - 1);
                    let value = w[min(at, vectors * V::value() - 1) * wide + column];
                    next_w[s] = select(at < end * V::value(), value, Vector::<W, V>::new(W::from_int(0)));
                } else {
                    let at = k + v % 8;
                    let value = w[min(out + v / 8, outs - 1) * vectors + min(at, vectors - 1)];
                    next_w[s] = select(at < end, value, Vector::<W, V>::new(W::from_int(0)));
                }
            }
            #[unroll]
            for s in 0..x_each {
                let v = s * 128 + unit;
                let at = k + v % 8;
                let value = Vector::<W, V>::cast_from(x[min(row + v / 8, rows - 1) * vectors + min(at, vectors - 1)]);
                next_x[s] = select(at < end, value, Vector::<W, V>::new(W::from_int(0)));
            }
        }
        k += 8usize;
        if have {
            #[unroll]
            for step in 0..4usize {
                // Backward, a row of the tile is a row of weights, and the warp's outputs are its columns.
                let layout = comptime!(if backward {
                    cmma::MatrixLayout::RowMajor
                } else {
                    cmma::MatrixLayout::ColMajor
                });
                let begin = if comptime!(backward) {
                    step * 144 + warp * 2
                } else {
                    warp * 144 + step * 2
                };
                let b = cmma::Matrix::<Vector<W, V>>::from_slice(
                    cmma::MatrixIdent::B,
                    16usize,
                    16usize,
                    16usize,
                    layout,
                    &tile_w[begin..comptime!(64usize * 9usize)],
                    72,
                );
                #[unroll]
                for f in 0..fragments {
                    let a = cmma::Matrix::<Vector<W, V>>::from_slice(
                        cmma::MatrixIdent::A,
                        16usize,
                        16usize,
                        16usize,
                        cmma::MatrixLayout::RowMajor,
                        &tile_x[f * 144 + step * 2..comptime!(fragments * 16 * 9)],
                        72,
                    );
                    cmma::execute(&a, &b, &sums[f], &sums[f]);
                }
            }
            sync_cube();
        }
    }
    let wide = CUBE_COUNT_X as usize * 64usize;
    let tall = CUBE_COUNT_Y as usize * comptime!(fragments * 16);
    #[unroll]
    for f in 0..fragments {
        let at = (CUBE_POS_Z as usize * tall + row + f * 16) * wide + out + warp * 16;
        cmma::store(
            &mut parts[at..at + 15 * wide + 16],
            &sums[f],
            wide as u32,
            cmma::MatrixLayout::RowMajor,
        );
    }
}

/// Adds the parts of [`gemm`] in order.
#[cube(launch_unchecked)]
pub(crate) fn sum_parts(
    parts: &[f32],
    bias: &[f32],
    y: &mut [f32],
    outs: u32,
    wide: u32,
    tall: u32,
    count: u32,
    mode: u32,
) {
    let row = CUBE_POS_Y as usize;
    let out = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    if out < outs as usize {
        let mut sum = 0.0f32;
        for part in 0..count {
            sum += parts[(part as usize * tall as usize + row) * wide as usize + out];
        }
        store(y, bias, row * outs as usize + out, out, sum, mode);
    }
}
