//! A decoder on a GPU, or on whatever [`Machine`] runs its kernels.
//!
//! Weights, pages and adapters lie in the machine's memory; a step sends its tables in one piece and reads back nothing
//! but logits. Linear layers that read the same rows are one matrix: their outputs lie side by side in one buffer, which
//! is what [`Rows`] of several sites share. Sums run in another order than on processors, and in another one for other
//! numbers of rows, so nothing here is verified work.

mod adapters;
mod extents;
mod tables;
mod warm;
mod weights;

#[cfg(feature = "cuda")]
mod cuda;

#[cfg(all(test, feature = "host"))]
mod tests;

use std::sync::Arc;

use cube::{
    ELEMENTWISE_THREADS, Element, GEMM_FRAGMENTS, GEMV_TILES, Kernel, Machine, MachineError, Scalar, vector_of,
};

#[cfg(feature = "cuda")]
pub use cuda::Wanted as CudaWanted;

use self::{
    adapters::Adapters,
    tables::{Attention, Tables},
    weights::{Linear, Weights},
};
use super::{Norm, Ops, Step};
use crate::{
    forward::{Shape, StepError},
    lora::{Adapter, AdapterHash, Projection},
    model::{Config, ModelError, files::Tensors, rope::Rope},
};

/// Cubes that keep every part of a GPU busy: matrices with fewer are split along their columns.
const CUBES_WANTED: usize = 512;
/// Columns that a part has at least, in steps of the kernel.
const PART_STEPS_MIN: usize = 4;
/// Columns of a step.
const STEP_COLUMNS: usize = 64;
/// Outputs of a cube.
const GEMM_OUTS: usize = 64;

/// How a model runs on a machine.
#[derive(Clone, Copy, Debug)]
pub struct GpuOptions {
    /// Positions in a page.
    pub page_tokens: usize,
    /// Pages.
    pub pages: u32,
    /// Slots for adapters.
    pub slots: u32,
    /// Memory for adapters that steps use; those in other slots come from the host when they are needed.
    pub adapter_bytes: u64,
    /// How keys, values and adapters are kept: as the weights are where nothing is said.
    pub kept: Option<Element>,
    /// Rows from which on tensor cores multiply weights of two bytes, with activations rounded to the weights' type.
    pub tensor_rows_min: usize,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            page_tokens: 16,
            pages: 1024,
            slots: 256,
            adapter_bytes: 1 << 30,
            kept: None,
            tensor_rows_min: 9,
        }
    }
}

/// Why a model does not go onto a machine.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// Its tensors were refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Too many queries share a key.
    #[error("{heads} heads over {kv_heads} of keys: at most 16 may share one on a GPU; serve it with `--device cpu`")]
    Heads {
        /// Queries.
        heads: usize,
        /// Keys.
        kv_heads: usize,
    },
    /// The machine failed.
    #[error("the device failed: {0}")]
    Machine(#[from] MachineError),
}

/// Activations: one row for each of the step's.
pub struct Rows<B> {
    buffer: B,
    rows: usize,
}

/// A machine, a model's weights, pages and slots.
pub struct Gpu<M: Machine> {
    machine: M,
    config: Config,
    options: GpuOptions,
    kept: Element,
    weights: Weights<M::Buffer>,
    rope: Rope,
    keys: Vec<M::Buffer>,
    values: Vec<M::Buffer>,
    adapters: Adapters<M::Buffer>,
    tables: Option<Tables<M::Buffer>>,
    /// What is bound where a kernel has nothing to read.
    nothing: M::Buffer,
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("rows, widths and their products are bounded by the configuration")
}

impl<M: Machine> Gpu<M> {
    /// Puts a model onto a machine.
    pub(crate) fn new(
        mut machine: M,
        tensors: &Tensors,
        config: &Config,
        options: GpuOptions,
    ) -> Result<Self, GpuError> {
        assert!(options.page_tokens > 0, "a page holds a position");
        let (heads, kv_heads) = (config.heads, config.kv_heads);
        if heads / kv_heads > cube::ATTEND_QUERIES[cube::ATTEND_QUERIES.len() - 1] {
            return Err(GpuError::Heads { heads, kv_heads });
        }
        let weights = Weights::take(&mut machine, tensors, config)?;
        let kept = options.kept.unwrap_or(weights.element);
        let page = kv_heads * options.page_tokens * config.head * kept.bytes();
        let mut pool = || {
            let pages = (0..config.layers).map(|_| machine.reserve(u64::from(options.pages.max(1)) * page as u64));
            pages.collect::<Vec<_>>()
        };
        let (keys, values) = (pool(), pool());
        let adapters = Adapters::new(&mut machine, config, kept, options.slots, options.adapter_bytes);
        Ok(Self {
            nothing: machine.upload(&[0; 32]),
            machine,
            kept,
            weights,
            rope: Rope::new(config),
            keys,
            values,
            adapters,
            tables: None,
            config: config.clone(),
            options,
        })
    }

    /// What a model's weights take in its memory.
    #[cfg(feature = "cuda")]
    pub(crate) fn weight_bytes(tensors: &Tensors, config: &Config) -> Result<u64, ModelError> {
        let numbers: usize = config
            .tensors()
            .values()
            .map(|shape| shape.iter().product::<usize>())
            .sum();
        Ok((numbers * weights::common(tensors, config)?.bytes()) as u64)
    }

    /// What the scheduler has to know.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            vocabulary: self.config.vocabulary,
            context_tokens_max: self.config.context_tokens_max,
            page_tokens: self.options.page_tokens,
            pages: self.options.pages,
            slots: self.options.slots,
        }
    }

    fn tables(&self) -> &Tables<M::Buffer> {
        self.tables.as_ref().expect("a step begins before it computes")
    }

    /// A kernel whose threads each have one number of a row.
    fn elementwise(&mut self, kernel: Kernel, rows: usize, width: usize, buffers: &[&M::Buffer], scalars: &[Scalar]) {
        let columns = count(width).div_ceil(ELEMENTWISE_THREADS);
        self.machine.launch(kernel, [columns, count(rows), 1], buffers, scalars);
    }

    /// `y = W x`, or added to `y`.
    fn multiply(&mut self, linear: &Linear<M::Buffer>, x: &M::Buffer, y: &M::Buffer, rows: usize, add: bool) {
        let element = self.weights.element;
        let vector = vector_of(element, linear.columns);
        let bias = linear.bias.clone().unwrap_or_else(|| self.nothing.clone());
        let mode = u32::from(add) * cube::ADD + u32::from(linear.bias.is_some()) * cube::BIAS;
        if element != Element::F32 && vector > 1 && rows >= self.options.tensor_rows_min {
            return self.multiply_tiles(linear, x, y, &bias, rows, mode);
        }
        let tile = GEMV_TILES
            .into_iter()
            .find(|tile| *tile >= rows)
            .unwrap_or(GEMV_TILES[GEMV_TILES.len() - 1]);
        let outs = 4 * Kernel::gemv_outs(tile);
        let kernel = Kernel::Gemv {
            weight: element,
            vector,
            tile,
        };
        let cubes = [count(linear.outs.div_ceil(outs)), count(rows.div_ceil(tile)), 1];
        let scalars = [linear.columns / vector, linear.outs, rows].map(|n| Scalar::U32(count(n)));
        let [vectors, outs, rows] = scalars;
        self.machine.launch(
            kernel,
            cubes,
            &[&linear.weight, x, &bias, y],
            &[vectors, outs, rows, Scalar::U32(mode)],
        );
    }

    /// The same on tensor cores, in parts of the columns where there are few outputs.
    fn multiply_tiles(
        &mut self,
        linear: &Linear<M::Buffer>,
        x: &M::Buffer,
        y: &M::Buffer,
        bias: &M::Buffer,
        rows: usize,
        mode: u32,
    ) {
        let element = self.weights.element;
        let most = GEMM_FRAGMENTS[GEMM_FRAGMENTS.len() - 1];
        let fragments = GEMM_FRAGMENTS.into_iter().find(|n| n * 16 >= rows).unwrap_or(most);
        let (across, down) = (linear.outs.div_ceil(GEMM_OUTS), rows.div_ceil(16 * fragments));
        let steps = linear.columns.div_ceil(STEP_COLUMNS);
        let parts = (CUBES_WANTED / (across * down)).clamp(1, (steps / PART_STEPS_MIN).max(1));
        let part = steps.div_ceil(parts);
        let parts = steps.div_ceil(part);
        let (wide, tall) = (across * GEMM_OUTS, down * 16 * fragments);
        let sums = self.machine.empty((parts * wide * tall * size_of::<f32>()) as u64);
        let vectors_each = STEP_COLUMNS / element.vector();
        let scalars = [
            linear.columns / element.vector(),
            linear.outs,
            rows,
            part * vectors_each,
        ];
        self.machine.launch(
            Kernel::Gemm {
                weight: element,
                fragments,
            },
            [count(across), count(down), count(parts)],
            &[&linear.weight, x, &sums],
            &scalars.map(|n| Scalar::U32(count(n))),
        );
        let scalars = [linear.outs, wide, tall, parts].map(|n| Scalar::U32(count(n)));
        let [outs, wide, tall, parts] = scalars;
        self.elementwise(
            Kernel::Finish,
            rows,
            linear.outs,
            &[&sums, bias, y],
            &[outs, wide, tall, parts, Scalar::U32(mode)],
        );
    }

    /// What adapters add to the outputs of some sites that read the same rows.
    fn adapt(&mut self, layer: usize, sites: &[Projection], x: &M::Buffer, y: &M::Buffer) {
        let Some(tiles) = self.tables.as_ref().and_then(|tables| tables.lora.as_ref()) else {
            return;
        };
        let inside = self.config.linear_shape(sites[0])[1];
        let outs: Vec<usize> = sites.iter().map(|site| self.config.linear_shape(*site)[0]).collect();
        let (all, widest): (usize, usize) = (outs.iter().sum(), outs.iter().copied().max().unwrap_or(0));
        let group = self.adapters.group(sites[0]);
        let (tile, rank_max) = (tiles.tile, tiles.rank_max);
        let cells = tiles.tiles * tiles.most * sites.len() * tile * rank_max;
        let h = self.machine.empty((cells * size_of::<f32>()) as u64);
        let site = layer * Projection::ALL.len() + sites[0] as usize;
        let shared = [site, self.adapters.slot_sites(), tiles.most, rank_max].map(|n| Scalar::U32(count(n)));
        let [site, slot_sites, most, rank_most] = shared;
        let pool = &self.adapters.pool;
        self.machine.launch(
            Kernel::Shrink {
                pool: self.kept,
                vector: group.inside,
                tile,
            },
            [
                count(tiles.tiles * tiles.most),
                count(rank_max).div_ceil(4),
                count(sites.len()),
            ],
            &[
                x,
                pool,
                &self.adapters.factors,
                &tiles.rows,
                &tiles.ranges,
                &tiles.mix,
                &h,
            ],
            &[
                Scalar::U32(count(inside / group.inside)),
                site,
                slot_sites,
                most,
                rank_most,
            ],
        );
        self.machine.launch(
            Kernel::Expand {
                pool: self.kept,
                vector: group.outs,
                tile,
            },
            [
                count((widest / group.outs).div_ceil(64)),
                count(tiles.tiles),
                count(sites.len()),
            ],
            &[
                &h,
                pool,
                &self.adapters.factors,
                &self.adapters.scales,
                &tiles.rows,
                &tiles.ranges,
                &tiles.mix,
                &tiles.weights,
                &group.columns,
                y,
            ],
            &[Scalar::U32(count(all / group.outs)), site, slot_sites, most, rank_most],
        );
    }

    /// Norms and rotates queries and keys, and keeps keys and values.
    fn place(&mut self, layer: usize, qkv: &M::Buffer, rows: usize) {
        let config = &self.config;
        let tables = self.tables.as_ref().expect("a step begins before it computes");
        let gains = self.weights.blocks[layer].gains.as_ref();
        let heads = count(config.heads + 2 * config.kv_heads);
        self.machine.launch(
            Kernel::Place {
                pages: self.kept,
                width: config.head,
                normed: gains.is_some(),
            },
            [count(rows), heads.div_ceil(4), 1],
            &[
                qkv,
                gains.unwrap_or(&self.nothing),
                &tables.cos,
                &tables.sin,
                &tables.places,
                &self.keys[layer],
                &self.values[layer],
            ],
            &[
                Scalar::U32(count(config.heads)),
                Scalar::U32(count(config.kv_heads)),
                Scalar::U32(count(self.options.page_tokens)),
                Scalar::F32(config.norm_epsilon),
            ],
        );
    }

    /// Attention of some tiles.
    fn look(&mut self, layer: usize, tiles: &Attention<M::Buffer>, qkv: &M::Buffer, out: &M::Buffer) {
        let config = &self.config;
        let (heads, width) = (config.heads, config.head);
        let parts = match tiles.parts {
            1 => self.nothing.clone(),
            parts => self
                .machine
                .empty((tiles.rows * heads * parts * (width + 2) * size_of::<f32>()) as u64),
        };
        let kernel = Kernel::Attend {
            pages: self.kept,
            vector: vector_of(self.kept, width),
            width,
            queries: tiles.queries,
        };
        let scalars = [heads, config.kv_heads, self.options.page_tokens, tiles.part_tokens];
        self.machine.launch(
            kernel,
            [count(tiles.tiles), count(config.kv_heads), count(tiles.parts)],
            &[
                qkv,
                &self.keys[layer],
                &self.values[layer],
                &tiles.table,
                &tiles.pages,
                out,
                &parts,
            ],
            &scalars.map(|n| Scalar::U32(count(n))),
        );
        if tiles.parts > 1 {
            self.machine.launch(
                Kernel::Combine,
                [count(tiles.rows * heads), 1, 1],
                &[&parts, &tiles.which, out],
                &[tiles.parts, width, heads].map(|n| Scalar::U32(count(n))),
            );
        }
    }
}

fn failed(error: MachineError) -> StepError {
    StepError::Device(error.0)
}

impl<M: Machine> Ops for Gpu<M> {
    type Rows = Rows<M::Buffer>;

    fn verifies(&self) -> bool {
        false
    }

    fn load(&mut self, slot: u32, adapter: &Arc<Adapter>) -> Result<(), StepError> {
        self.adapters.load(slot, adapter, &self.config)
    }

    fn unload(&mut self, slot: u32) {
        self.adapters.unload(slot);
    }

    fn loaded(&self, slot: u32) -> Option<AdapterHash> {
        self.adapters.loaded(slot)
    }

    fn copy_page(&mut self, from: u32, to: u32, tokens: usize) -> Result<(), StepError> {
        let heads = count(self.config.kv_heads);
        let singles = [tokens, self.options.page_tokens].map(|n| count(n * self.config.head));
        for pool in self.keys.iter().chain(&self.values) {
            self.machine.launch(
                Kernel::Copy(self.kept),
                [heads, 1, 1],
                &[pool],
                &[from, to, singles[0], singles[1]].map(Scalar::U32),
            );
        }
        Ok(())
    }

    fn begin(&mut self, step: &Step) -> Result<(), StepError> {
        self.adapters.ready(&mut self.machine, step)?;
        let last = step.positions.iter().max().map_or(0, |position| *position as usize);
        self.rope.reach(last + 1);
        let adapters = &self.adapters;
        let tables = Tables::of(
            &mut self.machine,
            step,
            &self.config,
            &self.options,
            &self.rope,
            |slot| adapters.rank(slot),
        );
        self.tables = Some(tables);
        Ok(())
    }

    fn embed(&mut self, step: &Step) -> Self::Rows {
        let (rows, width) = (step.tokens.len(), self.config.hidden);
        let y = self.machine.empty((rows * width * size_of::<f32>()) as u64);
        let (table, tokens) = (self.weights.embedding.clone(), self.tables().tokens.clone());
        let kernel = Kernel::Embed(self.weights.element);
        self.elementwise(
            kernel,
            rows,
            width,
            &[&table, &tokens, &y],
            &[Scalar::U32(count(width))],
        );
        Rows { buffer: y, rows }
    }

    fn norm(&mut self, norm: Norm, x: &Self::Rows) -> Self::Rows {
        let width = self.config.hidden;
        let y = self.machine.empty((x.rows * width * size_of::<f32>()) as u64);
        let gain = match norm {
            Norm::Attention(layer) => &self.weights.blocks[layer].attention_norm,
            Norm::FeedForward(layer) => &self.weights.blocks[layer].feed_forward_norm,
            Norm::Last => &self.weights.norm,
        };
        self.machine.launch(
            Kernel::Norm,
            [count(x.rows), 1, 1],
            &[&x.buffer, gain, &y],
            &[Scalar::U32(count(width)), Scalar::F32(self.config.norm_epsilon)],
        );
        Rows {
            buffer: y,
            rows: x.rows,
        }
    }

    fn linear<const N: usize>(
        &mut self,
        _step: &Step,
        layer: usize,
        sites: [Projection; N],
        x: &Self::Rows,
    ) -> [Self::Rows; N] {
        let linear = self.weights.blocks[layer].linear(&sites).clone();
        let y = self.machine.empty((x.rows * linear.outs * size_of::<f32>()) as u64);
        self.multiply(&linear, &x.buffer, &y, x.rows, false);
        self.adapt(layer, &sites, &x.buffer, &y);
        sites.map(|_| Rows {
            buffer: y.clone(),
            rows: x.rows,
        })
    }

    fn linear_onto(&mut self, _step: &Step, layer: usize, site: Projection, x: &Self::Rows, onto: &mut Self::Rows) {
        let linear = self.weights.blocks[layer].linear(&[site]).clone();
        self.multiply(&linear, &x.buffer, &onto.buffer, x.rows, true);
        self.adapt(layer, &[site], &x.buffer, &onto.buffer);
    }

    fn attend(&mut self, step: &Step, layer: usize, [qkv, _, _]: [Self::Rows; 3]) -> Self::Rows {
        let rows = step.tokens.len();
        self.place(layer, &qkv.buffer, rows);
        let bytes = rows * self.config.heads * self.config.head * size_of::<f32>();
        let out = self.machine.empty(bytes as u64);
        for tiles in self.tables().attention.clone() {
            self.look(layer, &tiles, &qkv.buffer, &out);
        }
        Rows { buffer: out, rows }
    }

    fn gate(&mut self, [both, _]: [Self::Rows; 2]) -> Self::Rows {
        let (rows, width) = (both.rows, self.config.intermediate);
        let y = self.machine.empty((rows * width * size_of::<f32>()) as u64);
        self.elementwise(
            Kernel::Gate,
            rows,
            width,
            &[&both.buffer, &y],
            &[Scalar::U32(count(width))],
        );
        Rows { buffer: y, rows }
    }

    fn wanted(&mut self, step: &Step, x: &Self::Rows) -> Self::Rows {
        let (rows, width) = (step.wanted.len(), self.config.hidden);
        let y = self.machine.empty((rows * width * size_of::<f32>()) as u64);
        let wanted = self.tables().wanted.clone();
        self.elementwise(
            Kernel::Take,
            rows,
            width,
            &[&x.buffer, &wanted, &y],
            &[Scalar::U32(count(width))],
        );
        Rows { buffer: y, rows }
    }

    fn logits(&mut self, x: &Self::Rows, logits: &mut Vec<f32>) -> Result<(), StepError> {
        let head = self.weights.head.clone();
        let bytes = (x.rows * head.outs * size_of::<f32>()) as u64;
        let y = self.machine.empty(bytes);
        self.multiply(&head, &x.buffer, &y, x.rows, false);
        let read = self.machine.read(&y, bytes).map_err(failed)?;
        logits.extend(read.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)));
        Ok(())
    }

    fn free(&mut self, rows: Self::Rows) {
        drop(rows);
    }
}
