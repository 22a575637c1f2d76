//! Threads and their kernels, over all rows of a pass. Forth, every row has the bits that serving gives it.

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

/// Bytes of weights of one task, so that they stay in a core's cache while many rows pass.
const TASK_BYTES: usize = 256 << 10;

/// Rows of a task that touches each once.
const TASK_ROWS: usize = 32;

/// Numbers of a task that tasks at each once.
const TASK_SINGLES: usize = 8192;

/// Buffers that wait for their next use: more than a deep model keeps for its way back.
const SPARE_MAX: usize = 4096;

/// Tasks of each thread between two tasks at who else wants it.
const TASKS_TOGETHER: usize = 4;

/// How many times too large a buffer may be for its use.
const SLACK: usize = 4;

/// A linear layer: `y = W x + bias + scale · B (A x)`.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) weight: &'a Weight,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) lora: Option<&'a LoraFactors>,
}

/// The factors of an adapter at a layer: `[rank, in]` and `[rank, out]`.
pub(crate) struct LoraFactors {
    pub(crate) a: Weight,
    pub(crate) b: Weight,
    pub(crate) scale: f32,
}

/// The threads and what they need beside the data.
pub(crate) struct ParallelOps {
    pub(crate) pool: ThreadPool,
    pub(crate) level: Level,
    /// Looked at before every few tasks.
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

    /// A buffer, with whatever a previous use left in it.
    pub(crate) fn take(&mut self, length: usize) -> Vec<f32> {
        // The tightest of those that are large enough and not far too large.
        let capacities = || self.spare.iter().map(Vec::capacity).enumerate();
        let fits = capacities().filter(|(_, capacity)| (length..=SLACK * length + TASK_SINGLES).contains(capacity));
        let mut buffer = match fits.min_by_key(|(_, capacity)| *capacity) {
            Some((index, _)) => self.spare.swap_remove(index),
            None => {
                // A new one takes the slot of one that has become too small, so that longer batches do not add up.
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

    /// Runs `run` for ranges of `0..count` that are at most `each` long.
    pub(crate) fn over(&mut self, count: usize, each: usize, run: &(dyn Fn(usize, usize) + Sync)) {
        self.each(count.div_ceil(each), &|task| {
            run(task * each, count.min((task + 1) * each));
        });
    }

    /// Runs `run(0)` to `run(tasks - 1)`, some at a time if foreground may be in the way.
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

    /// `x · weightᵀ`, by blocks of outputs.
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

    /// `scale · x · weightᵀ` for a weight of few rows, by blocks of the rows of `x`.
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

    /// A linear layer over all rows.
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

    /// As [`Self::linear`], into a new buffer.
    pub(crate) fn linear_of(&mut self, layer: Layer<'_>, x: &[f32]) -> Vec<f32> {
        let mut to = self.take(x.len() / layer.weight.columns * layer.weight.rows);
        self.linear(layer, x, &mut to, Store::Set);
        to
    }

    /// See [`multiply`].
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

    /// A norm of each row.
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

    /// The gradient through a norm of each row, added.
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

    /// The gradient of a norm's gain, added: a chain over rows.
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

    /// All rows, added in their order.
    pub(crate) fn sum_rows(&mut self, rows: &[f32], onto: &mut [f32]) {
        let (right, count) = (Right::Singles(rows, onto.len()), rows.len() / onto.len());
        if count > 0 {
            self.multiply(Left::ones(), right, count, 1, onto, Store::Add);
        }
    }

    /// `gate` becomes `silu(gate) · up`.
    pub(crate) fn swiglu(&mut self, gate: &mut [f32], up: &[f32]) {
        let (level, count) = (self.level, gate.len());
        let gate = DisjointMut::of(gate);
        self.over(count, TASK_SINGLES, &|from, end| {
            // SAFETY: each task has its own part.
            let gate = unsafe { gate.get(from, end - from) };
            silu_times(level, gate, &up[from..end]);
        });
    }

    /// `gate` and `up` become their gradients.
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
