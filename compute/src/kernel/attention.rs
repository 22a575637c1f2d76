//! Causal attention of some rows of one sequence over the pages of keys and values before them.
//!
//! # Why not FlashAttention's running maximum
//!
//! A running maximum makes the bits depend on the blocks in which positions are visited. Here the scores of a row are
//! computed over all its positions, then the weights, then the weighted sum in the order of positions, so the bits do
//! not depend on how a prompt was cut into steps.

#![allow(
    clippy::cast_possible_truncation,
    reason = "rows of a step are counted in 32 bits, as its tables are"
)]
#![allow(unsafe_code, reason = "rows of pages by pointer")]

use super::{
    Level,
    dot::{Output, Rows, Store, product_f32},
    level::kernel,
    math::softmax,
    simd::{LANES, Simd},
    thread_pool::DisjointMut,
};

/// The layout of attention heads and pages.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Number of query heads in a row.
    pub queries: usize,
    /// Number of key heads, and of value heads; divides `queries`.
    pub keys: usize,
    /// Width of a head.
    pub width: usize,
    /// Positions in a page.
    pub page_tokens: usize,
}

impl Heads {
    /// Returns the number of singles in a page of keys or of values.
    pub fn page(&self) -> usize {
        self.keys * self.page_tokens * self.width
    }

    /// Returns the offset of a position's key or value for a head.
    pub(crate) fn at(&self, page: u32, key_head: usize, inside: usize) -> usize {
        page as usize * self.page() + (key_head * self.page_tokens + inside) * self.width
    }
}

/// Attention for consecutive rows of a sequence and the query heads that share one key head. One task of a thread.
#[derive(Clone, Copy)]
pub struct AttentionTask<'a> {
    pub heads: Heads,
    /// Index of the key head.
    pub key_head: usize,
    /// Queries of all rows of the step, `[row][head][width]`.
    pub queries: &'a [f32],
    /// Outputs, in the layout of the queries.
    pub to: DisjointMut,
    /// First row in the buffers.
    pub row: usize,
    /// Number of rows from `row` on.
    pub rows: usize,
    /// Position of the first row in its sequence.
    pub position: usize,
    /// Pages of the sequence, in order.
    pub pages: &'a [u32],
    /// Pages of keys, `[page][head][position][width]`, followed by two spare vectors.
    pub keys: &'a [f32],
    /// Pages of values, in the same layout.
    pub values: &'a [f32],
}

impl AttentionTask<'_> {
    /// Computes the outputs of the task. `scores` is scratch.
    ///
    /// # Safety
    ///
    /// Nothing else accesses the outputs of these rows for these query heads.
    pub unsafe fn run(&self, level: Level, scores: &mut Vec<f32>) {
        let Heads { width, page_tokens, .. } = self.heads;
        let group = self.heads.queries / self.heads.keys;
        let tokens = self.position + self.rows;
        let stride = tokens.next_multiple_of(LANES);
        // One row of scores for each row of the sequence and each query head that shares the key head.
        let picked: Vec<u32> = (self.row..self.row + self.rows)
            .flat_map(|row| (0..group).map(move |head| (row, head)))
            .map(|(row, head)| (row * self.heads.queries + self.key_head * group + head) as u32)
            .collect();
        scores.clear();
        scores.resize(picked.len() * stride, 0.0);
        let queries = Rows::picked(self.queries, width, &picked);
        let starts: Vec<usize> = self.pages[..tokens.div_ceil(page_tokens)]
            .iter()
            .map(|page| self.heads.at(*page, self.key_head, 0))
            .collect();
        for (index, start) in starts.iter().enumerate() {
            let first = index * page_tokens;
            let count = page_tokens.min(tokens - first);
            let keys = &self.keys[*start..*start + count * width];
            let output = Output {
                to: scores[first..].as_mut_ptr(),
                stride,
                store: Store::Set,
                bias: None,
            };
            // SAFETY: `scores` is this task's, with a column for each of these keys.
            unsafe { product_f32(level, queries, keys.as_ptr(), width, count, width, output) };
        }
        let scale = 1.0 / (width as f32).sqrt();
        for (index, scores) in scores.chunks_exact_mut(stride).enumerate() {
            let seen = self.position + index / group + 1;
            softmax(level, &mut scores[..seen], scale);
            scores[seen..].fill(0.0);
        }
        let weighing = Weighing {
            weights: scores,
            stride,
            values: self.values,
            starts: &starts,
            page_tokens,
            tokens,
            width,
            picked: &picked,
            to: self.to,
        };
        weigh(level, weighing);
    }
}

#[derive(Clone, Copy)]
struct Weighing<'a> {
    weights: &'a [f32],
    stride: usize,
    values: &'a [f32],
    starts: &'a [usize],
    page_tokens: usize,
    tokens: usize,
    width: usize,
    picked: &'a [u32],
    to: DisjointMut,
}

kernel!(fn weigh(work: Weighing<'_>) = weigh_body);

#[inline(always)]
unsafe fn weigh_body<S: Simd>(work: Weighing<'_>) {
    for column in (0..work.width).step_by(2 * LANES) {
        let mut m = 0;
        // SAFETY: the tiles stay inside the picked rows.
        unsafe {
            while m + 4 <= work.picked.len() {
                weigh_tile::<S, 4>(&work, m, column);
                m += 4;
            }
            while m < work.picked.len() {
                weigh_tile::<S, 1>(&work, m, column);
                m += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn weigh_tile<S: Simd, const M: usize>(work: &Weighing<'_>, m: usize, column: usize) {
    let weights: [&[f32]; M] = std::array::from_fn(|i| &work.weights[(m + i) * work.stride..][..work.stride]);
    let columns = (work.width - column).min(2 * LANES);
    // SAFETY: spare vectors follow the values, so whole vectors may be read; these rows of `to` are this task's.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; M];
        for (index, start) in work.starts.iter().enumerate() {
            let first = index * work.page_tokens;
            let count = work.page_tokens.min(work.tokens - first);
            assert!(start + work.page_tokens * work.width + 2 * LANES <= work.values.len());
            for token in 0..count {
                let from = work.values.as_ptr().add(start + token * work.width + column);
                let v = [S::load(from), S::load(from.add(LANES))];
                for i in 0..M {
                    let weight = S::splat(*weights[i].get_unchecked(first + token));
                    sums[i][0] = S::fma(weight, v[0], sums[i][0]);
                    sums[i][1] = S::fma(weight, v[1], sums[i][1]);
                }
            }
        }
        for i in 0..M {
            let mut sum = [0.0; 2 * LANES];
            S::store(sum.as_mut_ptr(), sums[i][0]);
            S::store(sum.as_mut_ptr().add(LANES), sums[i][1]);
            let at = work.picked[m + i] as usize * work.width + column;
            work.to.get(at, columns).copy_from_slice(&sum[..columns]);
        }
    }
}
