//! Matrix products for gradients: sums that run down the rows of the right factor.
//!
//! Each output is one chain of fused additions in ascending order of the inner index, which begins at zero or
//! continues from what is there. So its bits do not depend on tiles or threads, nor on how a long chain is cut into
//! calls: two batches one after the other give the gradient of both.

#![allow(unsafe_code, reason = "inner loops over rows by pointer")]

use std::{cell::RefCell, ops::Range};

use super::{
    Level, ThreadPool,
    dot::Store,
    level::kernel,
    simd::{LANES, Simd},
    thread_pool::DisjointMut,
    weight::{Bf16Row, F16Row, F32Row, GROUP, Int4Row, Int8Row, Numbers, Row, Weight},
};
use crate::tensors::Dtype;

/// Inner steps after which partial outputs go back to memory; four vectors of this many rows fit the first-level
/// cache.
const DEPTH: usize = 128;

/// Output rows of one task; a multiple of the rows of every tile.
const TASK_ROWS: usize = 126;

/// Output columns of one task.
const TASK_COLUMNS: usize = 4 * LANES;

/// Number of output rows from which packing a panel of the right factor pays.
const PACK_FROM: usize = 13;

/// The left factor: element `(m, k)` lies at `m · row + k · column`.
///
/// ```
/// use compute::kernel::{
///     Level, ThreadPool,
///     dot::Store,
///     gemm::{Left, Right, multiply},
/// };
///
/// let (left, right, mut out) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0], [0.0; 4]);
/// let mut pool = ThreadPool::new(2);
/// let (left, right) = (Left::transposed(&left, 2), Right::Singles(&right, 2));
/// multiply(&mut pool, Level::detect(), left, right, 2, 2, &mut out, Store::Set);
/// assert_eq!(out, [1.0, 3.0, 2.0, 4.0]);
/// ```
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub(crate) from: &'a [f32],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<'a> Left<'a> {
    /// Takes a matrix with rows of `width` singles as it is.
    pub fn rows(from: &'a [f32], width: usize) -> Self {
        Self {
            from,
            row: width,
            column: 1,
        }
    }

    /// Takes the transpose of a matrix with rows of `width` singles.
    pub fn transposed(from: &'a [f32], width: usize) -> Self {
        Self {
            from,
            row: 1,
            column: width,
        }
    }

    /// Takes ones everywhere, so that the product is the sum of the right factor's rows.
    pub fn ones() -> Self {
        Self {
            from: &[1.0],
            row: 0,
            column: 0,
        }
    }

    fn reaches(&self, rows: usize, inner: usize) -> bool {
        rows == 0 || inner == 0 || (rows - 1) * self.row + (inner - 1) * self.column < self.from.len()
    }
}

/// The right factor: one row for each step of the inner index.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// Rows of singles and the distance from one to the next.
    Singles(&'a [f32], usize),
    /// A weight, as stored or quantised.
    Weight(&'a Weight),
}

impl Right<'_> {
    fn reaches(&self, inner: usize, columns: usize) -> bool {
        match self {
            Self::Singles(from, stride) => inner == 0 || (inner - 1) * stride + columns <= from.len(),
            Self::Weight(weight) => inner <= weight.rows && columns <= weight.columns,
        }
    }
}

/// A rectangle of outputs and its factors.
#[derive(Clone)]
pub(crate) struct Block<'a> {
    pub(crate) left: Left<'a>,
    pub(crate) right: Right<'a>,
    pub(crate) inner: usize,
    pub(crate) rows: Range<usize>,
    /// Begins at a multiple of [`LANES`].
    pub(crate) columns: Range<usize>,
    /// Address of output (0, 0).
    pub(crate) to: *mut f32,
    pub(crate) stride: usize,
    pub(crate) store: Store,
}

thread_local! {
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Block<'_> {
    /// Computes the block.
    ///
    /// # Safety
    ///
    /// The outputs are there, and nothing else accesses them.
    pub(crate) unsafe fn run(&self, level: Level) {
        assert!(self.columns.start.is_multiple_of(LANES) && self.inner > 0);
        assert!(self.left.reaches(self.rows.end, self.inner) && self.right.reaches(self.inner, self.columns.end));
        PACKED.with_borrow_mut(|packed| {
            packed.resize(DEPTH * TASK_COLUMNS, 0.0);
            run(level, self, packed);
        });
    }
}

/// Sets `to` (`rows` rows of `columns`), or adds to it, `left · right`, on all threads.
#[allow(clippy::too_many_arguments, reason = "two factors, three extents and where it goes")]
pub fn multiply(
    pool: &mut ThreadPool,
    level: Level,
    left: Left<'_>,
    right: Right<'_>,
    inner: usize,
    rows: usize,
    to: &mut [f32],
    store: Store,
) {
    if rows == 0 {
        return;
    }
    let columns = to.len() / rows;
    assert_eq!(to.len(), rows * columns);
    let across = columns.div_ceil(TASK_COLUMNS);
    let to = DisjointMut::of(to);
    pool.each(across * rows.div_ceil(TASK_ROWS), &|task| {
        let (row, column) = (task / across * TASK_ROWS, task % across * TASK_COLUMNS);
        let block = Block {
            left,
            right,
            inner,
            rows: row..rows.min(row + TASK_ROWS),
            columns: column..columns.min(column + TASK_COLUMNS),
            to: to.at(0),
            stride: columns,
            store,
        };
        // SAFETY: each task has its own rows and columns.
        unsafe { block.run(level) };
    });
}

kernel!(fn run(block: &Block<'_>, packed: &mut [f32]) = run_body);

#[inline(always)]
unsafe fn run_body<S: Simd>(block: &Block<'_>, packed: &mut [f32]) {
    let mut column = block.columns.start;
    // SAFETY: the panels stay inside the block.
    unsafe {
        while column < block.columns.end {
            let left = block.columns.end - column;
            if S::WIDE && left >= 4 * LANES {
                panel::<S, 6, 4>(block, column, 4 * LANES, packed);
                column += 4 * LANES;
            } else if left >= 2 * LANES {
                panel::<S, 2, 2>(block, column, 2 * LANES, packed);
                column += 2 * LANES;
            } else {
                panel::<S, 2, 1>(block, column, left.min(LANES), packed);
                column += LANES;
            }
        }
    }
}

/// Computes `V` vectors of columns, of which `count` columns exist; fewer than all only if `V` is 1.
#[inline(always)]
unsafe fn panel<S: Simd, const M: usize, const V: usize>(
    block: &Block<'_>,
    column: usize,
    count: usize,
    packed: &mut [f32],
) {
    let whole = count == V * LANES;
    for from in (0..block.inner).step_by(DEPTH) {
        let depth = DEPTH.min(block.inner - from);
        // SAFETY: the rows `from..from + depth` have these columns, and tiles stay inside the block.
        unsafe {
            let (right, stride) = match block.right {
                Right::Singles(rows, stride) if whole && block.rows.len() < PACK_FROM => {
                    (rows.as_ptr().add(from * stride + column), stride)
                }
                _ => {
                    pack::<S, V>(&block.right, from, depth, column, count, packed);
                    (packed.as_ptr(), V * LANES)
                }
            };
            let strip = Strip {
                right,
                stride,
                from,
                depth,
                column,
                count,
                fresh: from == 0 && matches!(block.store, Store::Set),
            };
            let mut m = block.rows.start;
            while m + M <= block.rows.end {
                tile::<S, M, V>(block, &strip, m);
                m += M;
            }
            if M > 2 {
                while m + 2 <= block.rows.end {
                    tile::<S, 2, V>(block, &strip, m);
                    m += 2;
                }
            }
            while m < block.rows.end {
                tile::<S, 1, V>(block, &strip, m);
                m += 1;
            }
        }
    }
}

/// Copies `depth` rows of a panel side by side, as singles.
#[inline(always)]
unsafe fn pack<S: Simd, const V: usize>(
    right: &Right<'_>,
    from: usize,
    depth: usize,
    column: usize,
    count: usize,
    packed: &mut [f32],
) {
    // SAFETY: the contract of `panel`; quantised rows are padded to groups.
    unsafe {
        match right {
            Right::Singles(rows, stride) => {
                let row = |k: usize| F32Row(rows.as_ptr().wrapping_add(k * stride));
                pack_rows::<S, _, V>(row, from, depth, column, count, packed);
            }
            Right::Weight(weight) => {
                let (columns, groups) = (weight.columns, weight.columns.div_ceil(GROUP));
                match &weight.numbers {
                    Numbers::Stored(Dtype::F32, bytes) => {
                        let base = bytes.get().as_ptr().cast::<f32>();
                        let row = |k: usize| F32Row(base.wrapping_add(k * columns));
                        pack_rows::<S, _, V>(row, from, depth, column, count, packed);
                    }
                    Numbers::Stored(Dtype::F16, bytes) => {
                        let base = bytes.get().as_ptr().cast::<u16>();
                        let row = |k: usize| F16Row(base.wrapping_add(k * columns));
                        pack_rows::<S, _, V>(row, from, depth, column, count, packed);
                    }
                    Numbers::Stored(Dtype::BF16, bytes) => {
                        let base = bytes.get().as_ptr().cast::<u16>();
                        let row = |k: usize| Bf16Row(base.wrapping_add(k * columns));
                        pack_rows::<S, _, V>(row, from, depth, column, count, packed);
                    }
                    Numbers::Int8 { quants, scales } => {
                        let row =
                            |k: usize| Int8Row(quants[k * groups * GROUP..].as_ptr(), scales[k * groups..].as_ptr());
                        pack_rows::<S, _, V>(row, from, depth, column, count, packed);
                    }
                    Numbers::Int4 { quants, scales } => {
                        let row =
                            |k: usize| Int4Row(quants[k * groups * LANES..].as_ptr(), scales[k * groups..].as_ptr());
                        pack_rows::<S, _, V>(row, from, depth, column, count, packed);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn pack_rows<S: Simd, R: Row, const V: usize>(
    row: impl Fn(usize) -> R,
    from: usize,
    depth: usize,
    column: usize,
    count: usize,
    packed: &mut [f32],
) {
    let vector = column / LANES;
    // SAFETY: as for `pack`; `packed` has room for `DEPTH` rows.
    unsafe {
        for k in 0..depth {
            let (row, to) = (row(from + k), packed[k * V * LANES..][..V * LANES].as_mut_ptr());
            for v in 0..V {
                let lanes = if count == V * LANES {
                    row.at::<S>(vector + v)
                } else {
                    row.tail::<S>(vector + v, count)
                };
                S::store(to.add(v * LANES), lanes);
            }
        }
    }
}

/// A panel of the right factor, `depth` inner steps long.
struct Strip {
    right: *const f32,
    stride: usize,
    from: usize,
    depth: usize,
    column: usize,
    count: usize,
    fresh: bool,
}

#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const V: usize>(block: &Block<'_>, strip: &Strip, m: usize) {
    let Left { from, row, column } = block.left;
    let left = from.as_ptr().wrapping_add(m * row + strip.from * column);
    let partial = strip.count < V * LANES;
    // SAFETY: outputs are inside by the contract of `run`; both factors reach so far, as it asserted.
    unsafe {
        let to: [*mut f32; M] = std::array::from_fn(|i| block.to.add((m + i) * block.stride + strip.column));
        let mut sums = [[S::splat(0.0); V]; M];
        if !strip.fresh {
            for i in 0..M {
                for v in 0..V {
                    sums[i][v] = if partial {
                        F32Row(to[i]).tail::<S>(v, strip.count)
                    } else {
                        S::load(to[i].add(v * LANES))
                    };
                }
            }
        }
        for k in 0..strip.depth {
            let right = strip.right.add(k * strip.stride);
            let b: [S::V; V] = std::array::from_fn(|v| S::load(right.add(v * LANES)));
            for i in 0..M {
                let a = S::splat(*left.add(i * row + k * column));
                for v in 0..V {
                    sums[i][v] = S::fma(a, b[v], sums[i][v]);
                }
            }
        }
        for i in 0..M {
            for v in 0..V {
                if partial {
                    let mut padded = [0.0f32; LANES];
                    S::store(padded.as_mut_ptr(), sums[i][v]);
                    std::ptr::copy_nonoverlapping(padded.as_ptr(), to[i], strip.count);
                } else {
                    S::store(to[i].add(v * LANES), sums[i][v]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
