//! Operations over all rows of a pass, on all threads, and the buffers that they reuse. The forward operations give
//! each row the same bits as the serving path.

#![allow(unsafe_code, reason = "threads write disjoint parts of the same buffers")]

use compute::kernel::{
    Level, ThreadPool,
    backward::{rms_norm_backward, rms_norm_gain, silu_times_backward},
    dot::{Output, Rows, Store, product},
    gemm::{Left, Right, multiply},
    math::{rms_norm, silu_times},
    prefetch::Prefetch,
    thread_pool::DisjointMut,
    weight::Weight,
};

use crate::throttle::ForegroundYield;

/// Bytes of weights in a task, so that they stay in a core's cache while many rows pass.
const TASK_BYTES: usize = 256 << 10;

/// Rows in a task that reads each row once.
const TASK_ROWS: usize = 32;

/// Numbers in a task that reads each number once.
const TASK_SINGLES: usize = 8192;

/// Most spare buffers: more than a deep model keeps for its backward pass.
const SPARE_MAX: usize = 4096;

/// Tasks of each thread between two checks of the foreground work.
const TASKS_TOGETHER: usize = 4;

/// Factor by which a spare buffer may be larger than its use.
const SLACK: usize = 4;

/// A linear layer: `y = W x + bias + scale · B (A x)`.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) weight: &'a Weight,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) lora: Option<&'a LoraFactors>,
}

/// The factors of an adapter at a layer: A `[rank, in]` and B transposed, `[rank, out]`.
pub(crate) struct LoraFactors {
    pub(crate) a: Weight,
    pub(crate) b: Weight,
    pub(crate) scale: f32,
}

/// Threads, instruction level and spare buffers.
pub(crate) struct ParallelOps {
    pub(crate) pool: ThreadPool,
    pub(crate) level: Level,
    /// Foreground work, checked before every few tasks.
    pub(crate) foreground: Option<ForegroundYield>,
    spare: Vec<Vec<f32>>,
}

impl ParallelOps {
    pub(crate) fn new(threads: usize, level: Level) -> Self {
        Self {
            pool: ThreadPool::new(threads),
            level: level.min(Level::detect()),
            foreground: None,
            spare: Vec::new(),
        }
    }

    /// Returns a buffer with unspecified content.
    pub(crate) fn take(&mut self, length: usize) -> Vec<f32> {
        // The smallest spare buffer that is large enough and not far too large.
        let capacities = || self.spare.iter().map(Vec::capacity).enumerate();
        let fits = capacities().filter(|(_, capacity)| (length..=SLACK * length + TASK_SINGLES).contains(capacity));
        let mut buffer = match fits.min_by_key(|(_, capacity)| *capacity) {
            Some((index, _)) => self.spare.swap_remove(index),
            None => {
                // A new buffer replaces one that is now too small, so that buffers of growing batches do not add up.
                let small = capacities().filter(|(_, capacity)| (length / SLACK..length).contains(capacity));
                if let Some((index, _)) = small.max_by_key(|(_, capacity)| *capacity) {
                    self.spare.swap_remove(index);
                }
                Vec::with_capacity(length)
            }
        };
        buffer.resize(length, 0.0);
        buffer
    }

    pub(crate) fn zeros(&mut self, length: usize) -> Vec<f32> {
        let mut buffer = self.take(length);
        buffer.fill(0.0);
        buffer
    }

    pub(crate) fn copy(&mut self, of: &[f32]) -> Vec<f32> {
        let mut buffer = self.take(of.len());
        buffer.copy_from_slice(of);
        buffer
    }

    /// Takes back a buffer.
    pub(crate) fn free(&mut self, buffer: Vec<f32>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(buffer);
        }
    }

    /// Runs `run` for ranges of `0..count`, each at most `each` long.
    pub(crate) fn over(&mut self, count: usize, each: usize, run: &(dyn Fn(usize, usize) + Sync)) {
        self.each(count.div_ceil(each), &|task| {
            run(task * each, count.min((task + 1) * each));
        });
    }

    /// Runs `run(0)` to `run(tasks - 1)`; in small groups if there may be foreground work.
    pub(crate) fn each(&mut self, tasks: usize, run: &(dyn Fn(usize) + Sync)) {
        if self.foreground.is_none() {
            return self.pool.each(tasks, run);
        }
        let together = TASKS_TOGETHER * self.pool.threads();
        for first in (0..tasks).step_by(together) {
            self.yield_to_foreground();
            self.pool.each(together.min(tasks - first), &|task| run(first + task));
        }
    }

    fn yield_to_foreground(&mut self) {
        if let Some(foreground) = &mut self.foreground {
            foreground.wait();
        }
    }

    /// Computes `x · weightᵀ`, in blocks of outputs.
    pub(crate) fn product(&mut self, x: &[f32], weight: &Weight, bias: Option<&[f32]>, to: &mut [f32], store: Store) {
        let rows = x.len() / weight.columns;
        assert_eq!(to.len(), rows * weight.rows);
        let many = TASK_BYTES / (4 * weight.columns);
        let each = weight.rows.div_ceil(8 * self.pool.threads()).clamp(16, many.max(16));
        let (level, stride, to) = (self.level, weight.rows, DisjointMut::of(to));
        self.over(weight.rows, each.next_multiple_of(8), &|from, end| {
            let output = Output {
                to: to.at(0),
                stride,
                store,
                bias,
            };
            // SAFETY: each task has its own columns; `x` has rows of the weight's columns.
            unsafe {
                product(
                    level,
                    Rows::of(x, weight.columns),
                    weight,
                    from,
                    end,
                    output,
                    &mut Prefetch::nothing(),
                )
            };
        });
    }

    /// Returns `scale · x · weightᵀ` for a weight of few rows, in blocks of the rows of `x`.
    pub(crate) fn shrink(&mut self, x: &[f32], weight: &Weight, scale: f32) -> Vec<f32> {
        let (rows, rank, width) = (x.len() / weight.columns, weight.rows, weight.columns);
        let mut x_a = self.take(rows * rank);
        let (level, to) = (self.level, DisjointMut::of(&mut x_a));
        self.over(rows, TASK_ROWS, &|from, end| {
            // SAFETY: each task has its own rows.
            let part = unsafe { to.get(from * rank, (end - from) * rank) };
            let output = Output {
                to: part.as_mut_ptr(),
                stride: rank,
                store: Store::Set,
                bias: None,
            };
            let x = Rows::of(&x[from * width..end * width], width);
            // SAFETY: as above.
            unsafe { product(level, x, weight, 0, rank, output, &mut Prefetch::nothing()) };
            part.iter_mut().for_each(|h| *h *= scale);
        });
        x_a
    }

    /// Computes a linear layer over all rows.
    pub(crate) fn linear(&mut self, layer: Layer<'_>, x: &[f32], to: &mut [f32], store: Store) {
        self.product(x, layer.weight, layer.bias, to, store);
        if let Some(lora) = layer.lora {
            let rows = x.len() / layer.weight.columns;
            let x_a = self.shrink(x, &lora.a, lora.scale);
            let (left, right) = (Left::rows(&x_a, lora.a.rows), Right::Weight(&lora.b));
            self.multiply(left, right, lora.a.rows, rows, to, Store::Add);
            self.free(x_a);
        }
    }

    /// Returns the outputs of a linear layer in a new buffer.
    pub(crate) fn linear_of(&mut self, layer: Layer<'_>, x: &[f32]) -> Vec<f32> {
        let mut to = self.take(x.len() / layer.weight.columns * layer.weight.rows);
        self.linear(layer, x, &mut to, Store::Set);
        to
    }

    /// Computes a matrix product for gradients; see [`multiply`].
    pub(crate) fn multiply(
        &mut self,
        left: Left<'_>,
        right: Right<'_>,
        inner: usize,
        rows: usize,
        to: &mut [f32],
        store: Store,
    ) {
        self.yield_to_foreground();
        multiply(&mut self.pool, self.level, left, right, inner, rows, to, store);
    }

    /// Returns the norm of each row.
    pub(crate) fn norm(&mut self, x: &[f32], gain: &[f32], epsilon: f32) -> Vec<f32> {
        let (width, level) = (gain.len(), self.level);
        let mut normed = self.take(x.len());
        let to = DisjointMut::of(&mut normed);
        self.over(x.len() / width, TASK_ROWS, &|from, end| {
            for row in from..end {
                // SAFETY: each task has its own rows.
                let to = unsafe { to.get(row * width, width) };
                rms_norm(level, &x[row * width..][..width], gain, epsilon, to);
            }
        });
        normed
    }

    /// Adds the gradient through a norm of each row to `onto`.
    pub(crate) fn norm_backward(&mut self, x: &[f32], gain: &[f32], epsilon: f32, d: &[f32], onto: &mut [f32]) {
        let (width, level) = (gain.len(), self.level);
        assert_eq!(x.len(), onto.len());
        let onto = DisjointMut::of(onto);
        self.over(x.len() / width, TASK_ROWS, &|from, end| {
            for row in from..end {
                let part = row * width..(row + 1) * width;
                // SAFETY: each task has its own rows.
                let onto = unsafe { onto.get(part.start, width) };
                rms_norm_backward(level, &x[part.clone()], gain, epsilon, &d[part], onto);
            }
        });
    }

    /// Adds the gradient of a norm's gain: one chain over rows.
    pub(crate) fn gain_backward(&mut self, x: &[f32], epsilon: f32, d: &[f32], gradient: &mut [f32]) {
        let (width, level) = (gradient.len(), self.level);
        let mut each = self.take(x.len());
        let to = DisjointMut::of(&mut each);
        self.over(x.len() / width, TASK_ROWS, &|from, end| {
            for row in from..end {
                let part = row * width..(row + 1) * width;
                // SAFETY: each task has its own rows.
                let to = unsafe { to.get(part.start, width) };
                rms_norm_gain(level, &x[part.clone()], epsilon, &d[part], to);
            }
        });
        self.sum_rows(&each, gradient);
        self.free(each);
    }

    /// Adds all rows to `onto`, in their order.
    pub(crate) fn sum_rows(&mut self, rows: &[f32], onto: &mut [f32]) {
        let (right, count) = (Right::Singles(rows, onto.len()), rows.len() / onto.len());
        if count > 0 {
            self.multiply(Left::ones(), right, count, 1, onto, Store::Add);
        }
    }

    /// Replaces `gate` by `silu(gate) · up`.
    pub(crate) fn swiglu(&mut self, gate: &mut [f32], up: &[f32]) {
        let (level, count) = (self.level, gate.len());
        let gate = DisjointMut::of(gate);
        self.over(count, TASK_SINGLES, &|from, end| {
            // SAFETY: each task has its own part.
            let gate = unsafe { gate.get(from, end - from) };
            silu_times(level, gate, &up[from..end]);
        });
    }

    /// Replaces `gate` and `up` by their gradients.
    pub(crate) fn swiglu_backward(&mut self, gate: &mut [f32], up: &mut [f32], d: &[f32]) {
        let (level, count) = (self.level, gate.len());
        let (gate, up) = (DisjointMut::of(gate), DisjointMut::of(up));
        self.over(count, TASK_SINGLES, &|from, end| {
            // SAFETY: each task has its own part.
            let (gate, up) = unsafe { (gate.get(from, end - from), up.get(from, end - from)) };
            silu_times_backward(level, gate, up, &d[from..end]);
        });
    }
}
