//! Causal attention inside each sequence of a pass, forward and backward.

#![allow(unsafe_code, reason = "threads write disjoint parts of the same buffers")]

use std::cell::RefCell;

use compute::{
    kernel::{
        attention::{AttentionTask, Heads},
        attention_backward::AttentionBackward,
        backward::{rms_norm_backward, rotate_backward},
        math::{rms_norm, rotate},
        simd::LANES,
        thread_pool::DisjointMut,
    },
    model::{Config, rope::Rope},
};

use super::{
    pack::{Pack, Span},
    parallel_ops::ParallelOps,
};

/// Most scores of a task, so that they stay in a core's cache.
const SCORES_MAX: usize = 64 << 10;

/// Rows in a task that applies rope.
const TASK_ROWS: usize = 16;

thread_local! {
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The parts of the model that attention reads.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) config: &'a Config,
    pub(crate) rope: &'a Rope,
    /// Gains of the norms of queries and keys (Qwen3).
    pub(crate) norms: Option<&'a [Vec<f32>; 2]>,
}

/// Queries, keys and values after norms and rope; keys and values by sequence, head and token.
pub(crate) struct RopedQkv {
    pub(crate) queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl RopedQkv {
    pub(crate) fn free(self, ops: &mut ParallelOps) {
        [self.queries, self.keys, self.values]
            .into_iter()
            .for_each(|buffer| ops.free(buffer));
    }
}

impl Attention<'_> {
    /// Returns the offset of a sequence's keys for a head.
    fn keys_at(&self, span: &Span, key_head: usize) -> usize {
        (span.row * self.config.kv_heads + key_head * span.rows) * self.config.head
    }

    /// Applies norms and rope to queries and keys, and sorts keys and values by sequence and head.
    pub(crate) fn apply_rope(&self, ops: &mut ParallelOps, pack: &Pack, [q, k, v]: [&[f32]; 3]) -> RopedQkv {
        let (queries, keys, width) = (self.config.heads, self.config.kv_heads, self.config.head);
        let level = ops.level;
        let mut roped = RopedQkv {
            queries: ops.copy(q),
            keys: ops.take(k.len() + 2 * LANES),
            values: ops.take(v.len() + 2 * LANES),
        };
        let parts = [&mut roped.queries, &mut roped.keys, &mut roped.values].map(|buffer| DisjointMut::of(buffer));
        let turn = |from: &[f32], to: &mut [f32], which: usize, position: usize| {
            match self.norms {
                Some(norms) => rms_norm(level, from, &norms[which], self.config.norm_epsilon, to),
                None => to.copy_from_slice(from),
            }
            let (cos, sin) = self.rope.at(position);
            rotate(to, cos, sin);
        };
        ops.over(pack.rows(), TASK_ROWS, &|from, end| {
            for row in from..end {
                let (span, position) = (&pack.spans[pack.span_of[row] as usize], pack.position(row));
                for head in 0..queries {
                    let at = (row * queries + head) * width;
                    // SAFETY: each task has its own rows.
                    turn(&q[at..at + width], unsafe { parts[0].get(at, width) }, 0, position);
                }
                for head in 0..keys {
                    let from = (row * keys + head) * width;
                    let at = self.keys_at(span, head) + position * width;
                    // SAFETY: as above; a row has a slot of its own.
                    let (to, value) = unsafe { (parts[1].get(at, width), parts[2].get(at, width)) };
                    turn(&k[from..from + width], to, 1, position);
                    value.copy_from_slice(&v[from..from + width]);
                }
            }
        });
        roped
    }

    /// Returns the outputs of attention.
    pub(crate) fn attend(&self, ops: &mut ParallelOps, pack: &Pack, roped: &RopedQkv) -> Vec<f32> {
        let mut attended = ops.take(roped.queries.len());
        let to = DisjointMut::of(&mut attended);
        let mut tasks = Vec::new();
        for span in &pack.spans {
            let heads = Heads {
                queries: self.config.heads,
                keys: self.config.kv_heads,
                width: self.config.head,
                page_tokens: span.rows,
            };
            let rows = (SCORES_MAX / (heads.queries / heads.keys * span.rows)).clamp(1, 16);
            let start = self.keys_at(span, 0);
            for first in (0..span.rows).step_by(rows) {
                tasks.extend((0..heads.keys).map(|key_head| AttentionTask {
                    heads,
                    key_head,
                    queries: &roped.queries,
                    to,
                    row: span.row + first,
                    rows: rows.min(span.rows - first),
                    position: first,
                    // Each sequence is one page for the serving kernel.
                    pages: &[0],
                    keys: &roped.keys[start..],
                    values: &roped.values[start..],
                }));
            }
        }
        let level = ops.level;
        ops.each(tasks.len(), &|task| {
            // SAFETY: each task has its own rows and heads.
            SCORES.with_borrow_mut(|scores| unsafe { tasks[task].run(level, scores) });
        });
        attended
    }

    /// Returns the gradients of queries, keys and values before norms and rope, from the gradient of the outputs.
    pub(crate) fn backward(
        &self,
        ops: &mut ParallelOps,
        pack: &Pack,
        roped: &RopedQkv,
        [q, k]: [&[f32]; 2],
        attended: &[f32],
        d: &[f32],
    ) -> AttentionGradients {
        let (queries, keys, width) = (self.config.heads, self.config.kv_heads, self.config.head);
        let group = queries / keys;
        let mut d_queries = ops.take(q.len());
        let (mut by_keys, mut by_values) = (ops.take(q.len()), ops.take(q.len()));
        let tasks: Vec<AttentionBackward<'_>> = {
            let (d_queries, d_keys, d_values) = (
                DisjointMut::of(&mut d_queries),
                DisjointMut::of(&mut by_keys),
                DisjointMut::of(&mut by_values),
            );
            let each = |span: &Span, head: usize| AttentionBackward {
                heads: queries,
                head,
                width,
                row: span.row,
                rows: span.rows,
                queries: &roped.queries,
                attended,
                d,
                keys: &roped.keys[self.keys_at(span, head / group)..],
                values: &roped.values[self.keys_at(span, head / group)..],
                d_queries,
                d_keys,
                d_values,
                at: (span.row * queries + head * span.rows) * width,
            };
            let heads = |span| (0..queries).map(move |head| each(span, head));
            pack.spans.iter().flat_map(heads).collect()
        };
        let level = ops.level;
        ops.each(tasks.len(), &|task| {
            // SAFETY: each task has its own sequence and head.
            unsafe { tasks[task].run(level) };
        });
        let mut back = AttentionGradients {
            queries: d_queries,
            keys: ops.take(k.len()),
            values: ops.take(k.len()),
            normed_gradients: None,
        };
        let parts = [&mut back.queries, &mut back.keys, &mut back.values].map(|buffer| DisjointMut::of(buffer));
        ops.over(pack.rows(), TASK_ROWS, &|from, end| {
            for row in from..end {
                let (span, position) = (&pack.spans[pack.span_of[row] as usize], pack.position(row));
                let (cos, sin) = self.rope.at(position);
                for head in 0..queries {
                    // SAFETY: each task has its own rows.
                    rotate_backward(unsafe { parts[0].get((row * queries + head) * width, width) }, cos, sin);
                }
                for head in 0..keys {
                    let at = (row * keys + head) * width;
                    // SAFETY: as above.
                    let (key, value) = unsafe { (parts[1].get(at, width), parts[2].get(at, width)) };
                    let sum = |by: &[f32], to: &mut [f32]| {
                        // Added in the order of the query heads that share the key head.
                        for head in head * group..(head + 1) * group {
                            let from = (span.row * queries + head * span.rows + position) * width;
                            let part = &by[from..from + width];
                            match head % group {
                                0 => to.copy_from_slice(part),
                                _ => to.iter_mut().zip(part).for_each(|(to, d)| *to += d),
                            }
                        }
                    };
                    sum(&by_keys, key);
                    sum(&by_values, value);
                    rotate_backward(key, cos, sin);
                }
            }
        });
        ops.free(by_keys);
        ops.free(by_values);
        if let Some(norms) = self.norms {
            back.backward_through_norms(ops, [q, k], norms, self.config.norm_epsilon);
        }
        back
    }
}

/// Gradients of attention's inputs.
pub(crate) struct AttentionGradients {
    pub(crate) queries: Vec<f32>,
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
    /// Gradients of queries and keys behind their norms, for the gains; only with norms.
    pub(crate) normed_gradients: Option<[Vec<f32>; 2]>,
}

impl AttentionGradients {
    fn backward_through_norms(&mut self, ops: &mut ParallelOps, raw: [&[f32]; 2], norms: &[Vec<f32>; 2], epsilon: f32) {
        let level = ops.level;
        let mut normed_gradients = [Vec::new(), Vec::new()];
        for (index, d) in [&mut self.queries, &mut self.keys].into_iter().enumerate() {
            let width = norms[index].len();
            let mut through = ops.zeros(d.len());
            let to = DisjointMut::of(&mut through);
            ops.over(d.len() / width, 8 * TASK_ROWS, &|from, end| {
                for head in from..end {
                    let part = head * width..(head + 1) * width;
                    // SAFETY: each task has its own heads.
                    let to = unsafe { to.get(part.start, width) };
                    rms_norm_backward(level, &raw[index][part.clone()], &norms[index], epsilon, &d[part], to);
                }
            });
            normed_gradients[index] = std::mem::replace(d, through);
        }
        self.normed_gradients = Some(normed_gradients);
    }
}
