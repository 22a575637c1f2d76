//! Rows of activations times the rows of a weight, from one row to a whole prompt.
//!
//! Each output is sixteen strided sums, fused in the order of the columns and added by halves, in whatever tile it is
//! computed. So its bits depend on its two rows alone.

#![allow(unsafe_code, reason = "inner loops over rows by pointer")]

use std::cell::RefCell;

use super::{
    level::kernel,
    prefetch::Prefetch,
    simd::{LANES, Simd},
    weight::{Bf16Row, F16Row, F32Row, GROUP, Int4Row, Int8Row, Numbers, Row, Weight},
};
use crate::tensors::Dtype;

/// Number of rows of activations from which rows of a narrow type are widened to singles once, before use.
const WIDEN_FROM: usize = 9;

/// Most bytes of activations in a strip, so that they stay in the cache beside the weights.
const STRIP_BYTES: usize = 256 << 10;

thread_local! {
    /// Scratch for widened rows.
    static WIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The way outputs are stored.
#[derive(Clone, Copy)]
pub enum Store {
    /// Replaces what was there.
    Set,
    /// Adds to what was there.
    Add,
}

/// Rows of singles in a buffer: all of them, or those that a list picks.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub(crate) from: *const f32,
    pub(crate) stride: usize,
    /// Indices of the rows, if not all in order.
    pub(crate) picked: Option<&'a [u32]>,
    pub(crate) count: usize,
}

impl<'a> Rows<'a> {
    /// Takes all rows of a buffer.
    pub fn of(buffer: &'a [f32], width: usize) -> Self {
        Self {
            from: buffer.as_ptr(),
            stride: width,
            picked: None,
            count: buffer.len() / width,
        }
    }

    /// Takes the rows of a buffer that `picked` lists.
    pub(crate) fn picked(buffer: &'a [f32], width: usize, picked: &'a [u32]) -> Self {
        let count = buffer.len() / width;
        assert!(
            picked.iter().all(|row| (*row as usize) < count),
            "picked rows are inside"
        );
        Self {
            from: buffer.as_ptr(),
            stride: width,
            picked: Some(picked),
            count: picked.len(),
        }
    }

    #[inline(always)]
    fn at(&self, row: usize) -> *const f32 {
        let row = self.picked.map_or(row, |picked| picked[row] as usize);
        self.from.wrapping_add(row * self.stride)
    }
}

/// The outputs of a product, `[row][column]`; a column for each row of the weight.
#[derive(Clone, Copy)]
pub struct Output<'a> {
    /// Address of the output of row 0 and column 0.
    pub to: *mut f32,
    /// Singles from one row to the next.
    pub stride: usize,
    pub store: Store,
    /// Addend for each column, in every row.
    pub bias: Option<&'a [f32]>,
}

/// Multiplies all rows of `x` with the weight's rows `from..to`.
///
/// # Safety
///
/// `x` has rows of `weight.columns` singles. The output rows are there, and nothing else accesses their columns
/// `from..to`.
pub unsafe fn product(
    level: super::Level,
    x: Rows<'_>,
    weight: &Weight,
    from: usize,
    to: usize,
    y: Output<'_>,
    prefetch: &mut Prefetch<'_>,
) {
    assert!(from <= to && to <= weight.rows && y.bias.is_none_or(|bias| bias.len() == weight.rows));
    run(level, x, weight, from, to, y, prefetch);
}

/// Multiplies all rows of `x` with `count` rows of singles that lie `stride` apart.
///
/// # Safety
///
/// As for [`product`]; the rows are readable.
#[allow(clippy::too_many_arguments, reason = "a matrix is a pointer and three numbers here")]
pub(crate) unsafe fn product_f32(
    level: super::Level,
    x: Rows<'_>,
    rows: *const f32,
    stride: usize,
    count: usize,
    columns: usize,
    y: Output<'_>,
) {
    run_f32(level, x, rows, stride, count, columns, y);
}

kernel!(fn run(x: Rows<'_>, weight: &Weight, from: usize, to: usize, y: Output<'_>, prefetch: &mut Prefetch<'_>) = run_body);
kernel!(fn run_f32(x: Rows<'_>, rows: *const f32, stride: usize, count: usize, columns: usize, y: Output<'_>) = run_f32_body);

#[inline(always)]
unsafe fn run_f32_body<S: Simd>(
    x: Rows<'_>,
    rows: *const f32,
    stride: usize,
    count: usize,
    columns: usize,
    y: Output<'_>,
) {
    let row = |n: usize| F32Row(rows.wrapping_add(n * stride));
    // SAFETY: the contract of `product_f32`.
    unsafe { walk::<S, _>(x, row, 0, count, columns, y, &mut Prefetch::nothing()) }
}

#[inline(always)]
unsafe fn run_body<S: Simd>(
    x: Rows<'_>,
    weight: &Weight,
    from: usize,
    to: usize,
    y: Output<'_>,
    prefetch: &mut Prefetch<'_>,
) {
    let columns = weight.columns;
    let groups = columns.div_ceil(GROUP);
    // SAFETY: the contract of `product`; each row of the weight has its columns, quantised ones padded to groups.
    unsafe {
        match &weight.numbers {
            Numbers::Stored(Dtype::F32, bytes) => {
                let base = bytes.get().as_ptr().cast::<f32>();
                walk::<S, _>(
                    x,
                    |n: usize| F32Row(base.wrapping_add(n * columns)),
                    from,
                    to,
                    columns,
                    y,
                    prefetch,
                );
            }
            Numbers::Stored(Dtype::F16, bytes) => {
                let base = bytes.get().as_ptr().cast::<u16>();
                widen::<S, _>(
                    x,
                    |n: usize| F16Row(base.wrapping_add(n * columns)),
                    from,
                    to,
                    columns,
                    y,
                    prefetch,
                );
            }
            Numbers::Stored(Dtype::BF16, bytes) => {
                let base = bytes.get().as_ptr().cast::<u16>();
                widen::<S, _>(
                    x,
                    |n: usize| Bf16Row(base.wrapping_add(n * columns)),
                    from,
                    to,
                    columns,
                    y,
                    prefetch,
                );
            }
            Numbers::Int8 { quants, scales } => {
                let row = |n: usize| Int8Row(quants[n * groups * GROUP..].as_ptr(), scales[n * groups..].as_ptr());
                widen::<S, _>(x, row, from, to, columns, y, prefetch);
            }
            Numbers::Int4 { quants, scales } => {
                let row = |n: usize| Int4Row(quants[n * groups * LANES..].as_ptr(), scales[n * groups..].as_ptr());
                widen::<S, _>(x, row, from, to, columns, y, prefetch);
            }
        }
    }
}

/// Uses narrow rows directly for few activations; for many, widens each once. The singles are the same, so are the
/// bits.
#[inline(always)]
unsafe fn widen<S: Simd, R: Row>(
    x: Rows<'_>,
    row: impl Fn(usize) -> R,
    from: usize,
    to: usize,
    columns: usize,
    y: Output<'_>,
    prefetch: &mut Prefetch<'_>,
) {
    // SAFETY: as for `walk`; the wide rows are padded to whole vectors.
    unsafe {
        if x.count < WIDEN_FROM {
            return walk::<S, R>(x, row, from, to, columns, y, prefetch);
        }
        let vectors = columns.div_ceil(LANES);
        let mut wide = WIDE.take();
        wide.resize((8 * vectors * LANES).max(wide.len()), 0.0);
        for first in (from..to).step_by(8) {
            let last = to.min(first + 8);
            for n in first..last {
                let into = wide.as_mut_ptr().add((n - first) * vectors * LANES);
                for vector in 0..columns / LANES {
                    S::store(into.add(vector * LANES), row(n).at::<S>(vector));
                }
                if !columns.is_multiple_of(LANES) {
                    let vector = columns / LANES;
                    S::store(into.add(vector * LANES), row(n).tail::<S>(vector, columns % LANES));
                }
            }
            let wide_row = |n: usize| F32Row(wide.as_ptr().wrapping_add((n - first) * vectors * LANES));
            walk::<S, _>(x, wide_row, first, last, columns, y, prefetch);
        }
        WIDE.set(wide);
    }
}

/// Walks over the outputs in tiles: strips of activations that fit the cache, four or eight rows of the weight at a
/// time.
#[inline(always)]
unsafe fn walk<S: Simd, R: Row>(
    x: Rows<'_>,
    row: impl Fn(usize) -> R,
    from: usize,
    to: usize,
    columns: usize,
    y: Output<'_>,
    prefetch: &mut Prefetch<'_>,
) {
    let strip = (STRIP_BYTES / (4 * columns.max(1))).clamp(8, 256) & !3;
    let mut m0 = 0;
    while m0 < x.count {
        let m1 = if x.count - m0 <= strip + 4 { x.count } else { m0 + strip };
        let (mut n, rows) = (from, m1 - m0);
        // SAFETY: the tiles stay inside `m0..m1` and `from..to`.
        unsafe {
            if rows == 1 && S::WIDE {
                while n + 8 <= to {
                    prefetch.advance();
                    tile::<S, R, 1, 8>(x, m0, std::array::from_fn(|i| row(n + i)), n, columns, y);
                    n += 8;
                }
            }
            while n + 4 <= to {
                strip_of::<S, R, 4>(x, m0, m1, std::array::from_fn(|i| row(n + i)), n, columns, y, prefetch);
                n += 4;
            }
            // The remainder is one tile too: ranks of adapters need not be multiples of four.
            match to - n {
                0 => (),
                1 => strip_of::<S, R, 1>(x, m0, m1, [row(n)], n, columns, y, prefetch),
                2 => strip_of::<S, R, 2>(x, m0, m1, std::array::from_fn(|i| row(n + i)), n, columns, y, prefetch),
                _ => strip_of::<S, R, 3>(x, m0, m1, std::array::from_fn(|i| row(n + i)), n, columns, y, prefetch),
            }
        }
        m0 = m1;
    }
}

#[allow(clippy::too_many_arguments, reason = "a tile is two ranges of two matrices")]
#[inline(always)]
unsafe fn strip_of<S: Simd, R: Row, const N: usize>(
    x: Rows<'_>,
    mut m: usize,
    to: usize,
    w: [R; N],
    n: usize,
    columns: usize,
    y: Output<'_>,
    prefetch: &mut Prefetch<'_>,
) {
    // SAFETY: as for `walk`.
    unsafe {
        if S::WIDE {
            while m + 4 <= to {
                prefetch.advance();
                tile::<S, R, 4, N>(x, m, w, n, columns, y);
                m += 4;
            }
        }
        while m + 2 <= to {
            prefetch.advance();
            tile::<S, R, 2, N>(x, m, w, n, columns, y);
            m += 2;
        }
        if m < to {
            tile::<S, R, 1, N>(x, m, w, n, columns, y);
        }
    }
}

/// Computes `M × N` outputs at once, each in its own accumulator.
#[inline(always)]
unsafe fn tile<S: Simd, R: Row, const M: usize, const N: usize>(
    x: Rows<'_>,
    m: usize,
    w: [R; N],
    n: usize,
    columns: usize,
    y: Output<'_>,
) {
    let rows: [*const f32; M] = std::array::from_fn(|i| x.at(m + i));
    // SAFETY: rows have `columns` singles and outputs are inside, by the contract of `product`.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        let vectors = columns / LANES;
        for vector in 0..vectors {
            let a: [S::V; M] = std::array::from_fn(|i| S::load(rows[i].add(vector * LANES)));
            for (j, w) in w.iter().enumerate() {
                let b = w.at::<S>(vector);
                for i in 0..M {
                    sums[i][j] = S::fma(a[i], b, sums[i][j]);
                }
            }
        }
        let left = columns % LANES;
        if left != 0 {
            let a: [S::V; M] = std::array::from_fn(|i| F32Row(rows[i]).tail::<S>(vectors, left));
            for (j, w) in w.iter().enumerate() {
                let b = w.tail::<S>(vectors, left);
                for i in 0..M {
                    sums[i][j] = S::fma(a[i], b, sums[i][j]);
                }
            }
        }
        for i in 0..M {
            let to = y.to.add((m + i) * y.stride + n);
            for j in (0..N).step_by(4) {
                let count = (N - j).min(4);
                let four = match count {
                    1 => [S::sum(sums[i][j]); 4],
                    _ => S::sums(std::array::from_fn(|o| sums[i][j + o.min(count - 1)])),
                };
                for o in 0..count {
                    let sum = four[o] + y.bias.map_or(0.0, |bias| bias[n + j + o]);
                    match y.store {
                        Store::Set => *to.add(j + o) = sum,
                        Store::Add => *to.add(j + o) += sum,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
