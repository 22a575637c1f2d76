//! A decoder on the processor.
//!
//! Every step is verified work, whatever its spans ask for: a row's bits depend on its tokens, its adapters and the model
//! alone, because each kernel computes an output in one fixed order ([`crate::kernel`]).

#![allow(unsafe_code, reason = "threads write disjoint rows of the same buffers")]

mod slot;

use std::{cell::RefCell, sync::Arc};

use slot::Slot;

use super::{Decoder, Norm, Ops, Step};
use crate::{
    forward::{Shape, StepError},
    kernel::{
        Level, Quantise, ThreadPool,
        attention::{AttentionTask, Heads},
        dot::Store,
        linear::{Adapted, Linear, linear},
        math::{rms_norm, rotate, silu_times},
        simd::LANES,
        thread_pool::DisjointMut,
        weight::Weight,
    },
    lora::{Adapter, AdapterHash, Projection},
    model::{Config, Model, ModelError, mapped::Mapped, rope::Rope, weights::Weights},
};

/// Most singles for which a kernel runs on the calling thread: it is done before a second one has woken.
const ALONE_MAX: usize = 8192;

/// Rows in a task of an elementwise kernel.
const TASK_ROWS: usize = 8;

/// Most scores of an attention task, so that they stay in a core's cache.
const SCORES_MAX: usize = 64 << 10;

/// Threads, precision and sizes of a model on the processor.
#[derive(Clone, Copy, Debug)]
pub struct CpuOptions {
    /// Number of threads that compute, with the caller's.
    pub threads: usize,
    /// Instruction level; lowered to what the processor has. Changes no bit.
    pub level: Level,
    /// Precision of the linear layers.
    pub quantise: Quantise,
    /// Positions in a page.
    pub page_tokens: usize,
    pub pages: u32,
    /// Number of slots for adapters.
    pub slots: u32,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            level: Level::detect(),
            quantise: Quantise::No,
            page_tokens: 16,
            pages: 1024,
            slots: 256,
        }
    }
}

/// The operations of the processor: a model's weights, pages, slots and threads.
pub struct Cpu {
    config: Config,
    weights: Weights,
    /// Mapped files of the weights, asked after each step if they changed.
    files: Vec<Arc<Mapped>>,
    rope: Rope,
    pool: ThreadPool,
    level: Level,
    heads: Heads,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    slots: Vec<Option<Slot>>,
    spare: Vec<Vec<f32>>,
    shrunk: Vec<f32>,
}

thread_local! {
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Model {
    /// Puts the model on the processor. Fails if a weight is missing; memory of the pages is taken as they are first
    /// written.
    pub fn on_cpu(&self, options: CpuOptions) -> Result<Decoder<Cpu>, ModelError> {
        let cpu = Cpu::new(self, options)?;
        let shape = cpu.shape(&options);
        Ok(Decoder::new(cpu, self.config().layers, shape))
    }
}

impl Cpu {
    /// Takes the weights and reserves the pages.
    fn new(model: &Model, options: CpuOptions) -> Result<Self, ModelError> {
        let config = model.config();
        assert!(options.page_tokens > 0, "a page holds a position");
        let heads = Heads {
            queries: config.heads,
            keys: config.kv_heads,
            width: config.head,
            page_tokens: options.page_tokens,
        };
        // Untouched pages cost nothing: the system provides zeroed memory at the first write.
        let pool = || vec![0.0; options.pages as usize * heads.page() + 2 * LANES];
        Ok(Self {
            weights: Weights::take(model, options.quantise)?,
            files: model.tensors().mapped().to_vec(),
            rope: Rope::new(config),
            pool: ThreadPool::new(options.threads),
            level: options.level.min(Level::detect()),
            heads,
            keys: (0..config.layers).map(|_| pool()).collect(),
            values: (0..config.layers).map(|_| pool()).collect(),
            slots: (0..options.slots).map(|_| None).collect(),
            spare: Vec::new(),
            shrunk: Vec::new(),
            config: config.clone(),
        })
    }

    /// Returns the sizes that the scheduler needs.
    fn shape(&self, options: &CpuOptions) -> Shape {
        Shape {
            vocabulary: self.config.vocabulary,
            context_tokens_max: self.config.context_tokens_max,
            page_tokens: options.page_tokens,
            pages: options.pages,
            slots: options.slots,
        }
    }

    /// Returns a buffer with unspecified content.
    fn take(&mut self, length: usize) -> Vec<f32> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(length, 0.0);
        buffer
    }

    fn run_linear<const N: usize>(
        &mut self,
        step: &Step,
        layer: usize,
        sites: [Projection; N],
        x: &[f32],
        outputs: [&mut Vec<f32>; N],
        store: Store,
    ) {
        let block = &self.weights.blocks[layer];
        let mut layers: Vec<Linear<'_>> = sites
            .into_iter()
            .zip(outputs)
            .map(|(site, to)| {
                let (weight, bias) = block.linear(site);
                Linear {
                    weight,
                    bias,
                    to,
                    store,
                }
            })
            .collect();
        let mut adapted = Vec::new();
        for group in &step.groups {
            let slot = self.slots[group.slot as usize]
                .as_ref()
                .expect("a step's slots are loaded");
            let there = sites
                .into_iter()
                .enumerate()
                .filter_map(|(index, site)| Some((index, slot.at(layer, site)?)));
            adapted.extend(there.map(|(index, factors)| Adapted {
                layer: index,
                a: &factors.a,
                b: &factors.b,
                scale: factors.scale,
                rows: &group.rows,
                weights: &group.weights,
            }));
        }
        let next = next(&self.slots, step, layer, sites[0], self.weights.blocks.len());
        linear(
            &mut self.pool,
            self.level,
            x,
            &mut layers,
            &adapted,
            &next,
            &mut self.shrunk,
        );
    }

    /// Applies norms and rope to queries and keys, and writes keys and values to their pages.
    fn write_kv(&mut self, step: &Step, layer: usize, [q, k, v]: &mut [Vec<f32>; 3]) {
        let Heads {
            queries, keys, width, ..
        } = self.heads;
        let (heads, level, epsilon) = (self.heads, self.level, self.config.norm_epsilon);
        let norms = self.weights.blocks[layer].head_norms.as_ref();
        let rope = &self.rope;
        let (q, k, v) = (DisjointMut::of(q), DisjointMut::of(k), DisjointMut::of(v));
        let (page_keys, page_values) = (
            DisjointMut::of(&mut self.keys[layer]),
            DisjointMut::of(&mut self.values[layer]),
        );
        let prepare = |head: &mut [f32], gain: Option<&Vec<f32>>, row: usize| {
            if let Some(gain) = gain {
                let mut normed = vec![0.0; width];
                rms_norm(level, head, gain, epsilon, &mut normed);
                head.copy_from_slice(&normed);
            }
            let (cos, sin) = rope.at(step.positions[row] as usize);
            rotate(head, cos, sin);
        };
        let run = |row: usize| {
            let (page, inside) = step.kv_slots[row];
            for head in 0..queries {
                // SAFETY: each row is one task, and no two rows of a step share a slot of the pages.
                let q = unsafe { q.get((row * queries + head) * width, width) };
                prepare(q, norms.map(|norms| &norms[0]), row);
            }
            for head in 0..keys {
                let (from, to) = ((row * keys + head) * width, heads.at(page, head, inside as usize));
                // SAFETY: as above.
                unsafe {
                    let k = k.get(from, width);
                    prepare(k, norms.map(|norms| &norms[1]), row);
                    page_keys.get(to, width).copy_from_slice(k);
                    page_values.get(to, width).copy_from_slice(v.get(from, width));
                }
            }
        };
        let rows = step.tokens.len();
        over_rows(&mut self.pool, rows, rows * queries * width, &run);
    }

    /// Runs the attention of every span, in tasks of some rows and one key head.
    fn run_attention(&mut self, step: &Step, layer: usize, queries: &[f32], to: &mut [f32]) {
        let to = DisjointMut::of(to);
        let mut tasks = Vec::new();
        for span in &step.spans {
            let group = self.heads.queries / self.heads.keys;
            let rows = (SCORES_MAX / (group * (span.position + span.rows))).clamp(1, 16);
            for first in (0..span.rows).step_by(rows) {
                tasks.extend((0..self.heads.keys).map(|key_head| AttentionTask {
                    heads: self.heads,
                    key_head,
                    queries,
                    to,
                    row: span.row + first,
                    rows: rows.min(span.rows - first),
                    position: span.position + first,
                    pages: &span.pages,
                    keys: &self.keys[layer],
                    values: &self.values[layer],
                }));
            }
        }
        let level = self.level;
        self.pool.each(tasks.len(), &|task| {
            // SAFETY: each task has its own rows and heads.
            SCORES.with_borrow_mut(|scores| unsafe { tasks[task].run(level, scores) });
        });
    }
}

/// Returns the A factors that are read first after the layers of `site`, for prefetching.
fn next<'a>(slots: &'a [Option<Slot>], step: &Step, layer: usize, site: Projection, layers: usize) -> Vec<&'a Weight> {
    use Projection::{Down, Gate, K, O, Q, Up, V};
    let (layer, sites): (usize, &[Projection]) = match site {
        Q | K | V => (layer, &[O]),
        O => (layer, &[Gate, Up]),
        Gate | Up => (layer, &[Down]),
        Down => (layer + 1, &[Q, K, V]),
    };
    if layer == layers {
        return Vec::new();
    }
    let present = step
        .groups
        .iter()
        .filter_map(|group| slots[group.slot as usize].as_ref());
    let factors = present.flat_map(|slot| sites.iter().filter_map(move |site| slot.at(layer, *site)));
    factors.map(|factors| &factors.a).collect()
}

/// Runs a kernel over rows, on all threads if it is large enough.
fn over_rows(pool: &mut ThreadPool, rows: usize, singles: usize, run: &(dyn Fn(usize) + Sync)) {
    if singles <= ALONE_MAX {
        return (0..rows).for_each(run);
    }
    pool.each(rows.div_ceil(TASK_ROWS), &|task| {
        (task * TASK_ROWS..rows.min((task + 1) * TASK_ROWS)).for_each(run);
    });
}

impl Ops for Cpu {
    type Rows = Vec<f32>;

    fn load(&mut self, slot: u32, adapter: &Arc<Adapter>) -> Result<(), StepError> {
        self.slots[slot as usize] = Some(Slot::of(adapter, &self.config)?);
        Ok(())
    }

    fn unload(&mut self, slot: u32) {
        self.slots[slot as usize] = None;
    }

    fn loaded(&self, slot: u32) -> Option<AdapterHash> {
        Some(self.slots.get(slot as usize)?.as_ref()?.hash)
    }

    fn copy_page(&mut self, from: u32, to: u32, tokens: usize) -> Result<(), StepError> {
        for pool in self.keys.iter_mut().chain(&mut self.values) {
            for head in 0..self.heads.keys {
                let start = self.heads.at(from, head, 0);
                pool.copy_within(start..start + tokens * self.heads.width, self.heads.at(to, head, 0));
            }
        }
        Ok(())
    }

    fn begin(&mut self, step: &Step) -> Result<(), StepError> {
        let last = step.positions.iter().max().map_or(0, |position| *position as usize);
        self.rope.reach(last + 1);
        Ok(())
    }

    fn embed(&mut self, step: &Step) -> Vec<f32> {
        let mut x = self.take(0);
        for token in &step.tokens {
            self.weights.embedding.row(*token as usize, &mut x);
        }
        x
    }

    fn norm(&mut self, norm: Norm, x: &Vec<f32>) -> Vec<f32> {
        let mut normed = self.take(x.len());
        let (level, epsilon, width) = (self.level, self.config.norm_epsilon, self.config.hidden);
        let gain = match norm {
            Norm::Attention(layer) => &self.weights.blocks[layer].attention_norm,
            Norm::FeedForward(layer) => &self.weights.blocks[layer].feed_forward_norm,
            Norm::Last => &self.weights.norm,
        };
        let to = DisjointMut::of(&mut normed);
        let run = |row: usize| {
            // SAFETY: each row is one task.
            let to = unsafe { to.get(row * width, width) };
            rms_norm(level, &x[row * width..][..width], gain, epsilon, to);
        };
        over_rows(&mut self.pool, x.len() / width, x.len(), &run);
        normed
    }

    fn linear<const N: usize>(
        &mut self,
        step: &Step,
        layer: usize,
        sites: [Projection; N],
        x: &Vec<f32>,
    ) -> [Vec<f32>; N] {
        let rows = step.tokens.len();
        let mut outputs = sites.map(|site| {
            let [out, _] = self.config.linear_shape(site);
            self.take(rows * out)
        });
        self.run_linear(step, layer, sites, x, outputs.each_mut(), Store::Set);
        outputs
    }

    fn linear_onto(&mut self, step: &Step, layer: usize, site: Projection, x: &Vec<f32>, onto: &mut Vec<f32>) {
        self.run_linear(step, layer, [site], x, [onto], Store::Add);
    }

    fn attend(&mut self, step: &Step, layer: usize, mut qkv: [Vec<f32>; 3]) -> Vec<f32> {
        self.write_kv(step, layer, &mut qkv);
        let [q, k, v] = qkv;
        let mut attended = self.take(q.len());
        self.run_attention(step, layer, &q, &mut attended);
        [q, k, v].into_iter().for_each(|buffer| self.free(buffer));
        attended
    }

    fn swiglu(&mut self, [mut gate, up]: [Vec<f32>; 2]) -> Vec<f32> {
        let (level, length) = (self.level, gate.len());
        const TASK: usize = 4096;
        let parts = DisjointMut::of(&mut gate);
        let run = |task: usize| {
            let from = task * TASK;
            let count = TASK.min(length - from);
            // SAFETY: each task has its own part.
            let gate = unsafe { parts.get(from, count) };
            silu_times(level, gate, &up[from..from + count]);
        };
        self.pool.each(length.div_ceil(TASK), &run);
        self.free(up);
        gate
    }

    fn wanted(&mut self, step: &Step, x: &Vec<f32>) -> Vec<f32> {
        let width = self.config.hidden;
        let mut rows = self.take(0);
        step.wanted
            .iter()
            .for_each(|row| rows.extend_from_slice(&x[*row as usize * width..][..width]));
        rows
    }

    fn logits(&mut self, x: &Vec<f32>, logits: &mut Vec<f32>) -> Result<(), StepError> {
        let (rows, before) = (x.len() / self.config.hidden, logits.len());
        logits.resize(before + rows * self.config.vocabulary, 0.0);
        let head = Linear {
            weight: &self.weights.head,
            bias: None,
            to: &mut logits[before..],
            store: Store::Set,
        };
        linear(&mut self.pool, self.level, x, &mut [head], &[], &[], &mut self.shrunk);
        Ok(())
    }

    fn unchanged(&self) -> Result<(), StepError> {
        match self.files.iter().find(|file| file.changed()) {
            None => Ok(()),
            Some(file) => {
                let file = file.path().to_owned();
                Err(StepError::Changed(ModelError::Changed { file }.to_string()))
            }
        }
    }

    fn free(&mut self, rows: Vec<f32>) {
        if self.spare.len() < 8 {
            self.spare.push(rows);
        }
    }
}
