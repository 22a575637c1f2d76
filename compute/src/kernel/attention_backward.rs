//! Backward pass of attention for one sequence and one query head.
//!
//! The weights are computed again from queries and keys, some rows at a time, with the bits of the forward pass.
//! Gradients of keys and values are sums over rows in their order, so the size of a block of rows does not change
//! them.

#![allow(
    clippy::cast_possible_truncation,
    reason = "rows of a batch are counted in 32 bits, as its tables are"
)]
#![allow(unsafe_code, reason = "rows of buffers by pointer")]

use std::cell::RefCell;

use super::{
    Level,
    backward::{dot, softmax_backward},
    dot::{Output, Rows, Store, product_f32},
    gemm::{Block, Left, Right},
    math::softmax,
    simd::LANES,
    thread_pool::DisjointMut,
};

/// Most attention weights of a block of rows, so that they stay in a core's cache.
const WEIGHTS_MAX: usize = 64 << 10;

/// The backward pass for one sequence and one query head. One task of a thread.
#[derive(Clone, Copy)]
pub struct AttentionBackward<'a> {
    /// Number of query heads in a row.
    pub heads: usize,
    /// Index of this query head.
    pub head: usize,
    /// Width of a head.
    pub width: usize,
    /// First row of the sequence in the buffers.
    pub row: usize,
    pub rows: usize,
    /// Rotated queries, `[row][head][width]`.
    pub queries: &'a [f32],
    /// Outputs of attention, in the layout of the queries.
    pub attended: &'a [f32],
    /// Gradient of the outputs, in the same layout.
    pub d: &'a [f32],
    /// Rotated keys of the sequence for the head, `[token][width]`.
    pub keys: &'a [f32],
    /// Values of the sequence, in the layout of the keys.
    pub values: &'a [f32],
    /// Gradient of the queries, in the layout of the queries.
    pub d_queries: DisjointMut,
    /// Gradient of the keys from this head alone, `[token][width]` from `at` on.
    pub d_keys: DisjointMut,
    /// Gradient of the values from this head alone, in the same layout.
    pub d_values: DisjointMut,
    /// Offset of the two gradients, in singles.
    pub at: usize,
}

thread_local! {
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

impl AttentionBackward<'_> {
    /// Computes the three gradients.
    ///
    /// # Safety
    ///
    /// Nothing else accesses the gradients of this head and sequence.
    pub unsafe fn run(&self, level: Level) {
        let length = self.rows * self.width;
        assert!(self.keys.len() >= length && self.values.len() >= length && self.head < self.heads);
        // SAFETY: the caller's promise.
        unsafe {
            self.d_keys.get(self.at, length).fill(0.0);
            self.d_values.get(self.at, length).fill(0.0);
        }
        let each = (WEIGHTS_MAX / self.rows).clamp(4, 64);
        SCRATCH.with_borrow_mut(|[weights, d_weights]| {
            for first in (0..self.rows).step_by(each) {
                // SAFETY: the caller's promise.
                unsafe { self.block(level, first, each.min(self.rows - first), weights, d_weights) };
            }
        });
    }

    /// Computes the gradients of rows `first..first + rows` of the sequence.
    unsafe fn block(&self, level: Level, first: usize, rows: usize, weights: &mut Vec<f32>, d_weights: &mut Vec<f32>) {
        let width = self.width;
        let tokens = first + rows;
        let stride = tokens.next_multiple_of(LANES);
        let picked: Vec<u32> = (self.row + first..self.row + tokens)
            .map(|row| (row * self.heads + self.head) as u32)
            .collect();
        for (buffer, queries, keys) in [
            (&mut *weights, self.queries, self.keys),
            (&mut *d_weights, self.d, self.values),
        ] {
            buffer.resize((rows * stride).max(buffer.len()), 0.0);
            let output = Output {
                to: buffer.as_mut_ptr(),
                stride,
                store: Store::Set,
                bias: None,
            };
            let queries = Rows::picked(queries, width, &picked);
            // SAFETY: the buffer has a column for each key, of which there are as many as tokens.
            unsafe { product_f32(level, queries, keys.as_ptr(), width, tokens, width, output) };
        }
        let scale = 1.0 / (width as f32).sqrt();
        for (index, at) in picked.iter().enumerate() {
            let (seen, at) = (first + index + 1, *at as usize * width);
            let weights = &mut weights[index * stride..][..tokens];
            let d_weights = &mut d_weights[index * stride..][..tokens];
            softmax(level, &mut weights[..seen], scale);
            weights[seen..].fill(0.0);
            // Σ weight · d, by the output instead of the weights (FlashAttention-2, "delta").
            let mean = dot(level, &self.attended[at..at + width], &self.d[at..at + width]);
            softmax_backward(level, &weights[..seen], &mut d_weights[..seen], mean, scale);
            d_weights[seen..].fill(0.0);
        }
        let (weights, d_weights) = (&weights[..rows * stride], &d_weights[..rows * stride]);
        let at = picked[0] as usize * width;
        let across = self.heads * width;
        let onto_tokens = |left, right: &[f32], to: DisjointMut| {
            let block = Block {
                left: Left::transposed(left, stride),
                right: Right::Singles(&right[at..], across),
                inner: rows,
                rows: 0..tokens,
                columns: 0..width,
                to: to.at(self.at),
                stride: width,
                store: Store::Add,
            };
            assert!(to.at(self.at + tokens * width) >= block.to);
            // SAFETY: the caller's promise; the assertion above keeps the block inside.
            unsafe { block.run(level) };
        };
        onto_tokens(weights, self.d, self.d_values);
        onto_tokens(d_weights, self.queries, self.d_keys);
        let block = Block {
            left: Left::rows(d_weights, stride),
            right: Right::Singles(self.keys, width),
            inner: tokens,
            rows: 0..rows,
            columns: 0..width,
            to: self.d_queries.at(at),
            stride: across,
            store: Store::Set,
        };
        assert!(self.d_queries.at(at + (rows - 1) * across + width) > block.to);
        // SAFETY: as above.
        unsafe { block.run(level) };
    }
}
