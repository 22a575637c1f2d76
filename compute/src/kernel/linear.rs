//! Linear layers that read the same rows, with the adapters of those rows, in one go over the threads.
//!
//! Adapters are shrunk first, at their true ranks, beside the base; whoever finishes a block of base outputs expands
//! every adapter's part into it. A row without an adapter costs what it would cost without any in the batch.

#![allow(unsafe_code, reason = "threads write disjoint blocks of the outputs")]

use std::sync::atomic::{AtomicUsize, Ordering::*};

use super::{
    Level, Team,
    dot::{Output, Rows, Store, product},
    level::kernel,
    simd::{LANES, Simd},
    team::Parts,
    weight::{Bf16Row, F16Row, F32Row, Numbers, Row, Weight},
};
use crate::tensors::Dtype;

/// Rows of one adapter that are shrunk as one task.
const SHRINK_ROWS: usize = 64;

/// Bytes of weights of one task, so that they stay in a core's cache while many rows pass.
const TASK_BYTES: usize = 256 << 10;

/// One layer and where its outputs go.
pub(crate) struct Linear<'a> {
    pub(crate) weight: &'a Weight,
    pub(crate) bias: Option<&'a [f32]>,
    /// `[row][weight.rows]`.
    pub(crate) to: &'a mut [f32],
    pub(crate) store: Store,
}

/// One adapter at one of the layers, and the rows it acts on.
pub(crate) struct Adapted<'a> {
    /// Which of the layers.
    pub(crate) layer: usize,
    /// `[rank, in]`.
    pub(crate) a: &'a Weight,
    /// `[rank, out]`.
    pub(crate) b: &'a Weight,
    pub(crate) scale: f32,
    pub(crate) rows: &'a [u32],
    /// How much of it each of the rows wants.
    pub(crate) weights: &'a [f32],
}

/// A part of an adapter's rows, and where its shrunken rows lie.
struct Shrink<'a> {
    adapted: &'a Adapted<'a>,
    from: usize,
    to: usize,
    at: usize,
}

/// Computes all layers over all rows of `x`. `shrunk` is scratch.
pub(crate) fn linear(
    team: &mut Team,
    level: Level,
    x: &[f32],
    layers: &mut [Linear<'_>],
    adapted: &[Adapted<'_>],
    shrunk: &mut Vec<f32>,
) {
    let width = layers[0].weight.columns;
    let rows = Rows::of(x, width);
    let shrinks = shrinks(adapted, shrunk);
    let blocks = blocks(layers, rows.count, team.threads());
    let shrunk = Parts::of(shrunk);
    let outputs: Vec<Parts> = layers
        .iter_mut()
        .map(|layer| {
            assert_eq!(
                (layer.weight.columns, layer.to.len()),
                (width, rows.count * layer.weight.rows)
            );
            Parts::of(layer.to)
        })
        .collect();
    let done = AtomicUsize::new(0);
    let x = Shared(rows);
    let layers = &*layers;
    team.each(
        shrinks.len() + blocks.len(),
        &|task| match task.checked_sub(shrinks.len()) {
            None => {
                let _counted = Counted(&done);
                let shrink = &shrinks[task];
                let picked = &shrink.adapted.rows[shrink.from..shrink.to];
                let length = picked.len() * shrink.adapted.a.rows;
                // SAFETY: each task has its own part.
                let to = unsafe { shrunk.get(shrink.at, length) };
                shrink.run(level, x.get(), picked, to);
            }
            Some(block) => {
                let (layer, from, to) = blocks[block];
                let (linear, stride) = (&layers[layer], layers[layer].weight.rows);
                let output = Output {
                    to: outputs[layer].at(0),
                    stride,
                    store: linear.store,
                    bias: linear.bias,
                };
                // SAFETY: each task has its own columns.
                unsafe { product(level, x.get(), linear.weight, from, to, output) };
                let mut mine = shrinks.iter().filter(|shrink| shrink.adapted.layer == layer).peekable();
                if mine.peek().is_none() {
                    return;
                }
                // All of these tasks were begun before this one.
                while done.load(Acquire) < shrinks.len() {
                    std::hint::spin_loop();
                }
                for shrink in mine {
                    let adapted = shrink.adapted;
                    let expand = Expand {
                        // SAFETY: all shrinking is done; from here on it is only read.
                        shrunk: unsafe { shrunk.get(shrink.at, (shrink.to - shrink.from) * adapted.a.rows) },
                        rank: adapted.a.rows,
                        rows: &adapted.rows[shrink.from..shrink.to],
                        from,
                        to,
                        out: outputs[layer],
                        stride,
                    };
                    expand.run(level, adapted.b);
                }
            }
        },
    );
}

/// Counts a task when it ends, however it ends: others wait for the count.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Release);
    }
}

struct Shared<'a>(Rows<'a>);

// SAFETY: the rows are read and never written while the tasks run.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    fn get(&self) -> Rows<'a> {
        self.0
    }
}

fn shrinks<'a>(adapted: &'a [Adapted<'a>], shrunk: &mut Vec<f32>) -> Vec<Shrink<'a>> {
    let (mut shrinks, mut at) = (Vec::new(), 0);
    for adapted in adapted {
        for from in (0..adapted.rows.len()).step_by(SHRINK_ROWS) {
            let to = adapted.rows.len().min(from + SHRINK_ROWS);
            shrinks.push(Shrink { adapted, from, to, at });
            at += (to - from) * adapted.a.rows;
        }
    }
    if shrunk.len() < at {
        shrunk.resize(at, 0.0);
    }
    shrinks
}

/// Cuts the layers' outputs into tasks: a layer, and columns of it.
fn blocks(layers: &[Linear<'_>], rows: usize, threads: usize) -> Vec<(usize, usize, usize)> {
    let columns: usize = layers.iter().map(|layer| layer.weight.rows).sum();
    let bytes = 4 * layers[0].weight.columns.max(1);
    let many = if rows > 1 { TASK_BYTES / bytes } else { usize::MAX };
    let size = columns
        .div_ceil(8 * threads)
        .clamp(16, many.max(16))
        .next_multiple_of(8);
    let mut blocks = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        blocks.extend(
            (0..layer.weight.rows)
                .step_by(size)
                .map(|from| (index, from, layer.weight.rows.min(from + size))),
        );
    }
    blocks
}

impl Shrink<'_> {
    fn run(&self, level: Level, x: Rows<'_>, picked: &[u32], to: &mut [f32]) {
        let Adapted { a, scale, weights, .. } = self.adapted;
        assert!(x.picked.is_none() && picked.iter().all(|row| (*row as usize) < x.count));
        let x = Rows {
            picked: Some(picked),
            count: picked.len(),
            ..x
        };
        let output = Output {
            to: to.as_mut_ptr(),
            stride: a.rows,
            store: Store::Set,
            bias: None,
        };
        // SAFETY: `to` has a number for each of these rows and ranks.
        unsafe { product(level, x, a, 0, a.rows, output) };
        for (row, weight) in to.chunks_exact_mut(a.rows).zip(&weights[self.from..self.to]) {
            let scale = scale * weight;
            row.iter_mut().for_each(|h| *h *= scale);
        }
    }
}

/// Columns `from..to` of the outputs of some rows, and what is added to them.
#[derive(Clone, Copy)]
struct Expand<'a> {
    shrunk: &'a [f32],
    rank: usize,
    rows: &'a [u32],
    from: usize,
    to: usize,
    out: Parts,
    stride: usize,
}

impl Expand<'_> {
    fn run(self, level: Level, b: &Weight) {
        assert!(self.to <= b.columns && b.columns == self.stride && b.rows == self.rank);
        expand(level, self, b);
    }
}

kernel!(fn expand(work: Expand<'_>, b: &Weight) = expand_body);

#[inline(always)]
unsafe fn expand_body<S: Simd>(work: Expand<'_>, b: &Weight) {
    let Numbers::Stored(dtype, bytes) = &b.numbers else {
        unreachable!("adapters are not quantised");
    };
    let (base, columns) = (bytes.get().as_ptr(), b.columns);
    // SAFETY: rows of `b` have its columns, of which `from..to` are read.
    unsafe {
        match dtype {
            Dtype::F32 => {
                let base = base.cast::<f32>();
                expand_rows::<S, _>(work, |r, c| F32Row(base.wrapping_add(r * columns + c)));
            }
            Dtype::F16 => {
                let base = base.cast::<u16>();
                expand_rows::<S, _>(work, |r, c| F16Row(base.wrapping_add(r * columns + c)));
            }
            Dtype::BF16 => {
                let base = base.cast::<u16>();
                expand_rows::<S, _>(work, |r, c| Bf16Row(base.wrapping_add(r * columns + c)));
            }
        }
    }
}

#[inline(always)]
unsafe fn expand_rows<S: Simd, R: Row>(work: Expand<'_>, row: impl Fn(usize, usize) -> R) {
    let mut column = work.from;
    // SAFETY: the tiles stay inside `from..to`.
    unsafe {
        while column + 4 * LANES <= work.to {
            expand_columns::<S, R, 4>(work, &row, column);
            column += 4 * LANES;
        }
        while column + LANES <= work.to {
            expand_columns::<S, R, 1>(work, &row, column);
            column += LANES;
        }
        let left = work.to - column;
        if left > 0 {
            for (index, at) in work.rows.iter().enumerate() {
                let out = work.out.get(*at as usize * work.stride + column, left);
                let mut padded = [0.0; LANES];
                padded[..left].copy_from_slice(out);
                let mut sum = S::load(padded.as_ptr());
                for r in 0..work.rank {
                    let h = S::splat(work.shrunk[index * work.rank + r]);
                    sum = S::fma(h, row(r, column).tail::<S>(0, left), sum);
                }
                S::store(padded.as_mut_ptr(), sum);
                out.copy_from_slice(&padded[..left]);
            }
        }
    }
}

#[inline(always)]
unsafe fn expand_columns<S: Simd, R: Row, const V: usize>(
    work: Expand<'_>,
    row: &impl Fn(usize, usize) -> R,
    column: usize,
) {
    let mut m = 0;
    // SAFETY: `V` vectors from `column` on are inside, in the rows and in the outputs.
    unsafe {
        while m < work.rows.len() {
            if m + 2 <= work.rows.len() {
                expand_tile::<S, R, V, 2>(work, row, m, column);
                m += 2;
            } else {
                expand_tile::<S, R, V, 1>(work, row, m, column);
                m += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn expand_tile<S: Simd, R: Row, const V: usize, const M: usize>(
    work: Expand<'_>,
    row: &impl Fn(usize, usize) -> R,
    m: usize,
    column: usize,
) {
    // SAFETY: as for `expand_columns`.
    unsafe {
        let to: [*mut f32; M] = std::array::from_fn(|i| work.out.at(work.rows[m + i] as usize * work.stride + column));
        let mut sums: [[S::V; V]; M] = std::array::from_fn(|i| std::array::from_fn(|v| S::load(to[i].add(v * LANES))));
        for r in 0..work.rank {
            let b: [S::V; V] = std::array::from_fn(|v| row(r, column).at::<S>(v));
            for i in 0..M {
                let h = S::splat(work.shrunk[(m + i) * work.rank + r]);
                for v in 0..V {
                    sums[i][v] = S::fma(h, b[v], sums[i][v]);
                }
            }
        }
        for i in 0..M {
            for v in 0..V {
                S::store(to[i].add(v * LANES), sums[i][v]);
            }
        }
    }
}
