//! Linear layers that read the same rows, with the adapters of those rows, in one job of the thread pool.
//!
//! `y = W x + bias + Σ weight · scale · B(A x)`. The products with A (*shrink*) come first, at the true ranks; the
//! thread that finishes a block of base outputs then adds the products with B (*expand*) to it. A row without an
//! adapter costs no more than in a batch without adapters.

#![allow(unsafe_code, reason = "threads write disjoint blocks of the outputs")]

use std::sync::atomic::{AtomicUsize, Ordering::*};

use super::{
    Level, ThreadPool,
    dot::{Output, Rows, Store, product},
    level::kernel,
    prefetch::{Prefetch, Region},
    simd::{LANES, Simd},
    thread_pool::DisjointMut,
    weight::{Bf16Row, F16Row, F32Row, Numbers, Row, Weight},
};
use crate::tensors::Dtype;

/// Rows of one adapter in a shrink task; few, so that threads finish together.
const SHRINK_ROWS: usize = 16;

/// Least multiplications of a shrink task; several adapters are joined to reach it.
const SHRINK_PRODUCTS: usize = 16 << 10;

/// Most bytes of weights of a base task, so that they stay in a core's cache while many rows pass.
const TASK_BYTES: usize = 256 << 10;

/// A linear layer and its outputs.
pub(crate) struct Linear<'a> {
    pub(crate) weight: &'a Weight,
    pub(crate) bias: Option<&'a [f32]>,
    /// `[row][weight.rows]`.
    pub(crate) to: &'a mut [f32],
    pub(crate) store: Store,
}

/// An adapter at one of the layers, and the rows it acts on.
pub(crate) struct Adapted<'a> {
    /// Index of the layer among those of the call.
    pub(crate) layer: usize,
    /// `[rank, in]`.
    pub(crate) a: &'a Weight,
    /// `[rank, out]`.
    pub(crate) b: &'a Weight,
    pub(crate) scale: f32,
    pub(crate) rows: &'a [u32],
    /// Factor of the adapter for each of the rows.
    pub(crate) weights: &'a [f32],
}

/// Some rows of one adapter, and the offset of their products with A.
struct Shrink<'a> {
    adapted: &'a Adapted<'a>,
    from: usize,
    to: usize,
    at: usize,
}

/// All shrinks of a call, by layer, and their partition into tasks.
struct Shrinks<'a> {
    all: Vec<Shrink<'a>>,
    /// Index of each layer's first shrink, and the end.
    layers: Vec<usize>,
    /// Index of each task's first shrink, and the end.
    tasks: Vec<usize>,
}

/// Computes all layers over all rows of `x`, which has rows as wide as the layers. Weights in `next`, which the next
/// call reads, are prefetched. `shrunk` is scratch.
pub(crate) fn linear(
    pool: &mut ThreadPool,
    level: Level,
    x: &[f32],
    layers: &mut [Linear<'_>],
    adapted: &[Adapted<'_>],
    next: &[&Weight],
    shrunk: &mut Vec<f32>,
) {
    let width = layers[0].weight.columns;
    let rows = Rows::of(x, width);
    let shrinks = Shrinks::of(adapted, layers.len(), shrunk);
    let blocks = blocks(layers, rows.count, pool.threads());
    let outputs: Vec<DisjointMut> = layers
        .iter_mut()
        .map(|layer| {
            assert_eq!(
                (layer.weight.columns, layer.to.len()),
                (width, rows.count * layer.weight.rows)
            );
            DisjointMut::of(layer.to)
        })
        .collect();
    // Checked once here rather than in each block.
    for Adapted { layer, a, b, .. } in adapted {
        assert_eq!(
            (a.columns, a.rows, b.columns),
            (width, b.rows, layers[*layer].weight.rows)
        );
    }
    let work = Work {
        level,
        x: rows,
        layers,
        outputs: &outputs,
        shrunk: DisjointMut::of(shrunk),
        done: AtomicUsize::new(0),
        shrinks: &shrinks,
        blocks: &blocks,
        next,
    };
    let first = shrinks.tasks.len() - 1;
    pool.each(first + blocks.len(), &|task| match task.checked_sub(first) {
        None => work.shrink(task),
        Some(block) => work.block(block),
    });
}

/// The state that the tasks share.
struct Work<'a> {
    level: Level,
    x: Rows<'a>,
    layers: &'a [Linear<'a>],
    outputs: &'a [DisjointMut],
    shrunk: DisjointMut,
    /// Number of shrink tasks that are done.
    done: AtomicUsize,
    shrinks: &'a Shrinks<'a>,
    /// Tasks on the base: layer, and columns `from..to` of its outputs.
    blocks: &'a [(usize, usize, usize)],
    next: &'a [&'a Weight],
}

// SAFETY: the rows and weights are read and never written while the tasks run; outputs are written in parts.
unsafe impl Sync for Work<'_> {}

impl Work<'_> {
    fn shrink(&self, task: usize) {
        let _counted = Counted(&self.done);
        let Shrinks { all, tasks, .. } = self.shrinks;
        let mut mine = all[tasks[task]..tasks[task + 1]].iter().peekable();
        while let Some(shrink) = mine.next() {
            // The next adapter's factor comes while this one's is used.
            if let Some(next) = mine.peek().filter(|next| !std::ptr::eq(next.adapted, shrink.adapted)) {
                next.adapted.a.fetch();
            }
            // SAFETY: each has its own part.
            let to = unsafe { self.shrunk.get(shrink.at, shrink.length()) };
            shrink.run(self.level, self.x, to);
        }
    }

    fn block(&self, block: usize) {
        let (layer, from, to) = self.blocks[block];
        let (linear, stride) = (&self.layers[layer], self.layers[layer].weight.rows);
        let output = Output {
            to: self.outputs[layer].at(0),
            stride,
            store: linear.store,
            bias: linear.bias,
        };
        let mine = &self.shrinks.all[self.shrinks.layers[layer]..self.shrinks.layers[layer + 1]];
        let part = |of: usize| of * self.next.len() / self.blocks.len();
        let later = &self.next[part(block)..part(block + 1)];
        let mut regions: Vec<Region<'_>> = Vec::with_capacity(mine.len() + later.len());
        // Rows of an adapter may be in several shrinks, all with the same columns.
        let own = mine.iter().filter(|shrink| shrink.from == 0);
        regions.extend(own.filter_map(|shrink| shrink.adapted.b.region(from, to)));
        regions.extend(later.iter().filter_map(|next| next.region(0, next.columns)));
        let tiles = ((to - from) / 4).max(1) * self.x.count.div_ceil(4);
        let mut prefetch = Prefetch::of(&regions, tiles);
        // SAFETY: each task has its own columns.
        unsafe { product(self.level, self.x, linear.weight, from, to, output, &mut prefetch) };
        if mine.is_empty() {
            return;
        }
        // Shrink tasks have lower numbers and were started before this one, so the wait is short and cannot deadlock.
        while self.done.load(Acquire) + 1 < self.shrinks.tasks.len() {
            std::hint::spin_loop();
        }
        let expand = Expand {
            shrinks: mine,
            shrunk: self.shrunk,
            from,
            to,
            out: self.outputs[layer],
            stride,
        };
        expand.run(self.level);
    }
}

/// Counts a task when it ends, by a panic too: others wait for the count.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Release);
    }
}

impl<'a> Shrinks<'a> {
    fn of(adapted: &'a [Adapted<'a>], layers: usize, shrunk: &mut Vec<f32>) -> Self {
        let mut shrinks = Self {
            all: Vec::with_capacity(adapted.len()),
            layers: vec![0],
            tasks: vec![0],
        };
        let (mut at, mut products) = (0, 0);
        for layer in 0..layers {
            for adapted in adapted.iter().filter(|adapted| adapted.layer == layer) {
                for from in (0..adapted.rows.len()).step_by(SHRINK_ROWS) {
                    let to = adapted.rows.len().min(from + SHRINK_ROWS);
                    let shrink = Shrink { adapted, from, to, at };
                    at += shrink.length();
                    products += shrink.length() * adapted.a.columns;
                    shrinks.all.push(shrink);
                    if products >= SHRINK_PRODUCTS {
                        shrinks.tasks.push(shrinks.all.len());
                        products = 0;
                    }
                }
            }
            shrinks.layers.push(shrinks.all.len());
        }
        if products > 0 {
            shrinks.tasks.push(shrinks.all.len());
        }
        if shrunk.len() < at {
            shrunk.resize(at, 0.0);
        }
        shrinks
    }
}

/// Cuts the layers' outputs into tasks: layer, and columns `from..to`.
fn blocks(layers: &[Linear<'_>], rows: usize, threads: usize) -> Vec<(usize, usize, usize)> {
    let columns: usize = layers.iter().map(|layer| layer.weight.rows).sum();
    let bytes = 4 * layers[0].weight.columns.max(1);
    let many = if rows > 1 { TASK_BYTES / bytes } else { usize::MAX };
    // Whole vectors, two where there are enough, so that the expand step has no remainder.
    let size = (columns / (8 * threads)).clamp(16, many.max(16));
    let size = if size >= 32 { size & !31 } else { 16 };
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
    /// Returns the number of singles that the products with A take.
    fn length(&self) -> usize {
        (self.to - self.from) * self.adapted.a.rows
    }

    fn rows(&self) -> &[u32] {
        &self.adapted.rows[self.from..self.to]
    }

    fn run(&self, level: Level, x: Rows<'_>, to: &mut [f32]) {
        let Adapted { a, scale, weights, .. } = self.adapted;
        let picked = self.rows();
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
        unsafe { product(level, x, a, 0, a.rows, output, &mut Prefetch::nothing()) };
        for (row, weight) in to.chunks_exact_mut(a.rows).zip(&weights[self.from..self.to]) {
            let scale = scale * weight;
            row.iter_mut().for_each(|h| *h *= scale);
        }
    }
}

/// Columns `from..to` of a layer's outputs, and the adapters that add to them.
#[derive(Clone, Copy)]
struct Expand<'a> {
    shrinks: &'a [Shrink<'a>],
    shrunk: DisjointMut,
    from: usize,
    to: usize,
    out: DisjointMut,
    stride: usize,
}

impl Expand<'_> {
    fn run(self, level: Level) {
        assert!(self.to <= self.stride);
        expand(level, self);
    }
}

kernel!(fn expand(work: Expand<'_>) = expand_body);

#[inline(always)]
unsafe fn expand_body<S: Simd>(work: Expand<'_>) {
    let (from, to) = (work.from, work.to);
    for shrink in work.shrinks {
        let Weight { columns, numbers, rows } = shrink.adapted.b;
        let Numbers::Stored(dtype, bytes) = numbers else {
            unreachable!("adapters are not quantised");
        };
        let (base, columns) = (bytes.get().as_ptr(), *columns);
        // SAFETY: all shrink tasks are done, so their products are only read. Rows of `b` have as many columns as the
        // outputs, of which `from..to` are read; columns `from..to` of the outputs are this task's.
        unsafe {
            let one = One {
                shrunk: work.shrunk.get(shrink.at, shrink.length()),
                rank: *rows,
                rows: shrink.rows(),
                out: work.out,
                stride: work.stride,
            };
            match dtype {
                Dtype::F32 => {
                    let base = base.cast::<f32>();
                    expand_rows::<S, _>(one, from, to, |r, c| F32Row(base.wrapping_add(r * columns + c)));
                }
                Dtype::F16 => {
                    let base = base.cast::<u16>();
                    expand_rows::<S, _>(one, from, to, |r, c| F16Row(base.wrapping_add(r * columns + c)));
                }
                Dtype::BF16 => {
                    let base = base.cast::<u16>();
                    expand_rows::<S, _>(one, from, to, |r, c| Bf16Row(base.wrapping_add(r * columns + c)));
                }
            }
        }
    }
}

/// The rows of one adapter in an expand step.
#[derive(Clone, Copy)]
struct One<'a> {
    shrunk: &'a [f32],
    rank: usize,
    rows: &'a [u32],
    out: DisjointMut,
    stride: usize,
}

#[inline(always)]
unsafe fn expand_rows<S: Simd, R: Row>(work: One<'_>, from: usize, to: usize, row: impl Fn(usize, usize) -> R) {
    let mut column = from;
    // SAFETY: the tiles stay inside `from..to`.
    unsafe {
        while S::WIDE && column + 4 * LANES <= to {
            expand_columns::<S, R, 4>(work, &row, column);
            column += 4 * LANES;
        }
        while column + 2 * LANES <= to {
            expand_columns::<S, R, 2>(work, &row, column);
            column += 2 * LANES;
        }
        while column + LANES <= to {
            expand_columns::<S, R, 1>(work, &row, column);
            column += LANES;
        }
        let left = to - column;
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
    work: One<'_>,
    row: &impl Fn(usize, usize) -> R,
    column: usize,
) {
    let mut m = 0;
    // SAFETY: `V` vectors from `column` on are inside, in the rows and in the outputs.
    unsafe {
        while S::WIDE && m + 4 <= work.rows.len() {
            expand_tile::<S, R, V, 4>(work, row, m, column);
            m += 4;
        }
        while m + 2 <= work.rows.len() {
            expand_tile::<S, R, V, 2>(work, row, m, column);
            m += 2;
        }
        if m < work.rows.len() {
            expand_tile::<S, R, V, 1>(work, row, m, column);
        }
    }
}

#[inline(always)]
unsafe fn expand_tile<S: Simd, R: Row, const V: usize, const M: usize>(
    work: One<'_>,
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
