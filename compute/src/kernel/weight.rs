//! A frozen matrix `[out, in]` in the form that kernels read: as stored, or quantised in groups along its rows.

#![allow(
    clippy::cast_possible_truncation,
    reason = "quants are within their bits by the choice of the scale"
)]
#![allow(
    unsafe_code,
    reason = "rows are handed to kernels as pointers, since a mapped file aligns nothing"
)]

use std::sync::Arc;

use super::{
    prefetch::Region,
    simd::{LANES, Simd, prefetch},
};
use crate::tensors::{Bytes, Dtype, Matrix};

/// Number of columns that share a scale.
pub(crate) const GROUP: usize = 32;

/// Bytes of a cache line.
const LINE: usize = 64;

/// The precision in which the frozen base is kept in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quantise {
    /// As stored.
    #[default]
    No,
    /// Eight bits, with a scale for every 32 columns: about a quarter of F32's memory and near its quality.
    Int8,
    /// Four bits, with a scale for every 32 columns: about an eighth of F32's memory, with a visible loss of quality.
    Int4,
}

/// A matrix of weights. Clones share its memory.
#[derive(Clone)]
pub struct Weight {
    /// Number of rows: outputs of a linear layer.
    pub rows: usize,
    /// Number of columns: inputs of a linear layer.
    pub columns: usize,
    pub(crate) numbers: Numbers,
}

#[derive(Clone)]
pub(crate) enum Numbers {
    Stored(Dtype, Bytes),
    Int8 {
        quants: Arc<[i8]>,
        scales: Arc<[f32]>,
    },
    /// Sixteen bytes for each group: columns 0 to 15 in the low halves, 16 to 31 in the high ones.
    Int4 {
        quants: Arc<[u8]>,
        scales: Arc<[f32]>,
    },
}

impl Weight {
    /// Takes a matrix as stored, sharing its memory.
    pub fn stored(matrix: &Matrix) -> Self {
        Self {
            rows: matrix.rows,
            columns: matrix.columns,
            numbers: Numbers::Stored(matrix.dtype, matrix.share()),
        }
    }

    /// Quantises a stored matrix; one that is quantised already stays as it is.
    pub(crate) fn quantised(self, how: Quantise) -> Self {
        let Numbers::Stored(dtype, bytes) = &self.numbers else {
            return self;
        };
        let stride = self.columns * dtype.bytes();
        let rows = bytes.get().chunks_exact(stride.max(1)).map(|row| {
            let mut numbers = Vec::with_capacity(self.columns.next_multiple_of(GROUP));
            dtype.read(row, &mut numbers);
            numbers.resize(self.columns.next_multiple_of(GROUP), 0.0);
            numbers
        });
        let numbers = match how {
            Quantise::No => return self,
            Quantise::Int8 => {
                let (mut quants, mut scales) = (Vec::new(), Vec::new());
                rows.for_each(|row| {
                    row.as_chunks()
                        .0
                        .iter()
                        .for_each(|group| int8(group, &mut quants, &mut scales))
                });
                Numbers::Int8 {
                    quants: quants.into(),
                    scales: scales.into(),
                }
            }
            Quantise::Int4 => {
                let (mut quants, mut scales) = (Vec::new(), Vec::new());
                rows.for_each(|row| {
                    row.as_chunks()
                        .0
                        .iter()
                        .for_each(|group| int4(group, &mut quants, &mut scales))
                });
                Numbers::Int4 {
                    quants: quants.into(),
                    scales: scales.into(),
                }
            }
        };
        Self { numbers, ..self }
    }

    /// Prefetches the whole matrix, if it is stored.
    pub(crate) fn fetch(&self) {
        if let Numbers::Stored(_, bytes) = &self.numbers {
            let bytes = bytes.get();
            (0..bytes.len())
                .step_by(LINE)
                .for_each(|at| prefetch(&raw const bytes[at]));
        }
    }

    /// Returns columns `from..to` of all rows for prefetching; `None` if the matrix is quantised or the range is
    /// empty.
    pub(crate) fn region(&self, from: usize, to: usize) -> Option<Region<'_>> {
        match &self.numbers {
            Numbers::Stored(dtype, bytes) if from < to && to <= self.columns => {
                let size = dtype.bytes();
                let end = ((self.rows - 1) * self.columns + to) * size;
                Some(Region {
                    bytes: &bytes.get()[from * size..end],
                    stride: self.columns * size,
                    width: (to - from) * size,
                })
            }
            _ => None,
        }
    }

    /// Appends a row as singles.
    pub fn row(&self, row: usize, into: &mut Vec<f32>) {
        let groups = self.columns.div_ceil(GROUP);
        let scaled = |scales: &[f32], value: &dyn Fn(usize) -> f32, into: &mut Vec<f32>| {
            into.extend((0..self.columns).map(|column| value(column) * scales[row * groups + column / GROUP]));
        };
        match &self.numbers {
            Numbers::Stored(dtype, bytes) => {
                let stride = self.columns * dtype.bytes();
                dtype.read(&bytes.get()[row * stride..][..stride], into);
            }
            Numbers::Int8 { quants, scales } => {
                scaled(scales, &|column| f32::from(quants[row * groups * GROUP + column]), into);
            }
            Numbers::Int4 { quants, scales } => {
                let value = |column: usize| {
                    let (group, inside) = (column / GROUP, column % GROUP);
                    let byte = quants[(row * groups + group) * LANES + inside % LANES];
                    f32::from(if inside < LANES { byte & 15 } else { byte >> 4 }) - 8.0
                };
                scaled(scales, &value, into);
            }
        }
    }
}

fn largest(group: &[f32; GROUP]) -> f32 {
    group
        .iter()
        .copied()
        .fold(0.0, |most: f32, x| if x.abs() > most.abs() { x } else { most })
}

fn int8(group: &[f32; GROUP], quants: &mut Vec<i8>, scales: &mut Vec<f32>) {
    let scale = largest(group).abs() / 127.0;
    let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
    // Within ±127 by the choice of the scale; the cast saturates.
    quants.extend(group.iter().map(|x| (x * inverse).round_ties_even() as i8));
    scales.push(scale);
}

fn int4(group: &[f32; GROUP], quants: &mut Vec<u8>, scales: &mut Vec<f32>) {
    // The largest magnitude maps to -8, which has no positive counterpart.
    let scale = largest(group) / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { scale.recip() };
    let quant = |x: f32| ((x * inverse).round_ties_even() + 8.0).clamp(0.0, 15.0) as u8;
    quants.extend((0..LANES).map(|i| quant(group[i]) | quant(group[i + LANES]) << 4));
    scales.push(scale);
}

/// A row of a weight, read sixteen columns at a time.
///
/// # Safety
///
/// A row is valid while its matrix is; `at` needs `16 × (vector + 1)` columns, `tail` as many as it is given.
#[allow(clippy::missing_safety_doc, reason = "the contract is the trait's")]
pub(crate) trait Row: Copy {
    unsafe fn at<S: Simd>(self, vector: usize) -> S::V;
    /// Reads the last columns, followed by zeros.
    unsafe fn tail<S: Simd>(self, vector: usize, columns: usize) -> S::V;
}

macro_rules! stored_row {
    ($name:ident, $element:ty, $zero:expr, $load:ident) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) *const $element);

        impl Row for $name {
            #[inline(always)]
            unsafe fn at<S: Simd>(self, vector: usize) -> S::V {
                // SAFETY: by the contract the columns are there.
                unsafe { S::$load(self.0.wrapping_add(vector * LANES)) }
            }
            #[inline(always)]
            unsafe fn tail<S: Simd>(self, vector: usize, columns: usize) -> S::V {
                let mut padded = [$zero; LANES];
                // SAFETY: as above; bytes are copied, since nothing aligns them.
                unsafe {
                    let from = self.0.wrapping_add(vector * LANES).cast::<u8>();
                    let bytes = columns.min(LANES) * size_of::<$element>();
                    std::ptr::copy_nonoverlapping(from, padded.as_mut_ptr().cast(), bytes);
                    S::$load(padded.as_ptr())
                }
            }
        }
    };
}

stored_row!(F32Row, f32, 0.0f32, load);
stored_row!(F16Row, u16, 0u16, load_f16);
stored_row!(Bf16Row, u16, 0u16, load_bf16);

#[derive(Clone, Copy)]
pub(crate) struct Int8Row(pub(crate) *const i8, pub(crate) *const f32);

impl Row for Int8Row {
    #[inline(always)]
    unsafe fn at<S: Simd>(self, vector: usize) -> S::V {
        // SAFETY: quantised rows are padded to whole groups.
        unsafe {
            S::mul(
                S::load_i8(self.0.wrapping_add(vector * LANES)),
                S::splat(*self.1.wrapping_add(vector / 2)),
            )
        }
    }
    #[inline(always)]
    unsafe fn tail<S: Simd>(self, vector: usize, _: usize) -> S::V {
        // SAFETY: as above; the padding is zeros.
        unsafe { self.at::<S>(vector) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Int4Row(pub(crate) *const u8, pub(crate) *const f32);

impl Row for Int4Row {
    #[inline(always)]
    unsafe fn at<S: Simd>(self, vector: usize) -> S::V {
        let group = vector / 2;
        // SAFETY: quantised rows are padded to whole groups.
        unsafe {
            let quants = S::load_i4(self.0.wrapping_add(group * LANES), vector % 2 == 1);
            S::mul(quants, S::splat(*self.1.wrapping_add(group)))
        }
    }
    #[inline(always)]
    unsafe fn tail<S: Simd>(self, vector: usize, _: usize) -> S::V {
        // SAFETY: as above; zeros quantise to zero.
        unsafe { self.at::<S>(vector) }
    }
}
