//! Adapters of different ranks in one launch: `y += weight · scale · B(A x)`, each at its true rank.
//!
//! Rows with the same mix of adapters form tiles. A tile lists its rows and its range in the list of adapters, in the
//! order in which they are added. A table has the offsets of the factors for each slot, layer and site.

use cubecl::prelude::*;

/// Warps of a cube in [`shrink`], one rank each.
pub(crate) const SHRINK_WARPS: u32 = 4;
/// Threads of a cube in [`expand`].
pub(crate) const EXPAND_THREADS: u32 = 64;
/// Marks an unused entry in a tile's list of rows.
pub const NO_ROW: u32 = u32::MAX;

/// Computes `h = A x` for each tile, adapter, site, row and rank.
#[cube(launch_unchecked)]
pub(crate) fn shrink<W: Float, V: Size>(
    x: &[Vector<f32, V>],
    pool: &[Vector<W, V>],
    factors: &[u32],
    tile_rows: &[u32],
    tile_mix: &[u32],
    mix: &[u32],
    h: &mut [f32],
    vectors: u32,
    layer_site: u32,
    slot_sites: u32,
    most: u32,
    rank_max: u32,
    #[comptime] tile: usize,
) {
    let lane = UNIT_POS_X as usize;
    let at = (CUBE_POS_X / most) as usize;
    let which = CUBE_POS_X % most;
    let rank = (CUBE_POS_Y * CUBE_DIM_Y + UNIT_POS_Y) as usize;
    let vectors = vectors as usize;
    if which < tile_mix[at * 2 + 1] {
        let slot = mix[(tile_mix[at * 2] + which) as usize];
        let factor = (slot * slot_sites + layer_site + CUBE_POS_Z) as usize * 3;
        if rank < factors[factor + 2] as usize {
            let a = factors[factor] as usize + rank * vectors;
            let mut sums = Array::<f32>::new(tile);
            let mut starts = Array::<u32>::new(tile);
            #[unroll]
            for t in 0..tile {
                sums[t] = 0.0f32;
                let row = tile_rows[at * tile + t];
                // Row 0 in the place of a missing one: its result is not stored.
                starts[t] = select(row == NO_ROW, 0u32, row);
            }
            let mut i = lane;
            while i < vectors {
                let weights = Vector::<f32, V>::cast_from(pool[a + i]);
                #[unroll]
                for t in 0..tile {
                    let products = weights * x[starts[t] as usize * vectors + i];
                    #[unroll]
                    for j in 0..V::value() {
                        sums[t] += products.extract(j);
                    }
                }
                i += 32usize;
            }
            let offset = (CUBE_POS_X * CUBE_COUNT_Z + CUBE_POS_Z) as usize * tile;
            #[unroll]
            for t in 0..tile {
                let sum = plane_sum(sums[t]);
                if lane == 0 {
                    h[(offset + t) * rank_max as usize + rank] = sum;
                }
            }
        }
    }
}

/// Adds `weight · scale · B h` to `y`; each thread has a vector of columns. `columns` holds the first output of each
/// site in a row of `y` and their number, in vectors.
#[cube(launch_unchecked)]
pub(crate) fn expand<W: Float, V: Size>(
    h: &[f32],
    pool: &[Vector<W, V>],
    factors: &[u32],
    scales: &[f32],
    tile_rows: &[u32],
    tile_mix: &[u32],
    mix: &[u32],
    weights: &[f32],
    columns: &[u32],
    y: &mut [Vector<f32, V>],
    stride: u32,
    layer_site: u32,
    slot_sites: u32,
    most: u32,
    rank_max: u32,
    #[comptime] tile: usize,
) {
    let at = CUBE_POS_Y as usize;
    let column = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    let begin = columns[CUBE_POS_Z as usize * 2] as usize;
    let outs = columns[CUBE_POS_Z as usize * 2 + 1] as usize;
    if column < outs {
        let mut sums = Array::<Vector<f32, V>>::new(tile);
        #[unroll]
        for t in 0..tile {
            sums[t] = Vector::<f32, V>::new(0.0f32);
        }
        for which in 0..tile_mix[at * 2 + 1] {
            let entry = (tile_mix[at * 2] + which) as usize;
            let site = (mix[entry] * slot_sites + layer_site + CUBE_POS_Z) as usize;
            let b = factors[site * 3 + 1] as usize + column;
            let ranks = factors[site * 3 + 2] as usize;
            let scale = scales[site] * weights[entry];
            let offset = ((CUBE_POS_Y * most + which) * CUBE_COUNT_Z + CUBE_POS_Z) as usize * tile;
            for rank in 0..ranks {
                let factor = Vector::<f32, V>::cast_from(pool[b + rank * outs]);
                #[unroll]
                for t in 0..tile {
                    sums[t] += factor * Vector::<f32, V>::new(scale * h[(offset + t) * rank_max as usize + rank]);
                }
            }
        }
        #[unroll]
        for t in 0..tile {
            let row = tile_rows[at * tile + t];
            if row != NO_ROW {
                y[row as usize * stride as usize + begin + column] += sums[t];
            }
        }
    }
}
