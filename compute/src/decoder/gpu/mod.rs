//! A decoder on a GPU, or on any [`Machine`] that runs its kernels (crate `cube`).
//!
//! Weights, pages and adapters lie in the GPU's memory. A step uploads its tables in one piece and reads back nothing
//! but logits. Linear layers that read the same rows are stacked to one matrix, whose outputs lie side by side in one
//! buffer; the [`Rows`] of those layers share it.
//!
//! Sums run in another order than on processors, and the order depends on the number of rows, so nothing here is
//! verified work.
//!
//! # Why not burn's layers
//!
//! In burn 0.22 rotary positions have one start for a whole batch, which a batch of sequences of different lengths cannot
//! use; LoRA composes a dense weight in every forward pass; and there is no paged attention and no batch of adapters of
//! different ranks. So the kernels are written in CubeCL, the kernel language that burn itself is built on.

mod adapters;
mod attention;
mod free_list;
mod linear;
mod ops;
pub mod pack;
mod tables;
mod warm;
pub mod weights;

#[cfg(feature = "cuda")]
mod cuda;

#[cfg(all(test, feature = "host"))]
mod tests;

use cube::{ELEMENTWISE_THREADS, Element, Kernel, Machine, MachineError, Scalar};

#[cfg(feature = "cuda")]
pub use cuda::CudaOptions;

use self::{adapters::Adapters, tables::Tables, weights::Weights};
use super::Decoder;
use crate::{
    forward::Shape,
    model::{Config, Model, ModelError, rope::Rope},
};

/// Sizes of a model on a machine.
#[derive(Clone, Copy, Debug)]
pub struct GpuOptions {
    /// Positions in a page.
    pub page_tokens: usize,
    pub pages: u32,
    /// Number of slots for adapters.
    pub slots: u32,
    /// Bytes for adapters in use; those in other slots stay in host memory until a step uses them.
    pub adapter_bytes: u64,
    /// Type of keys, values and adapters; that of the weights if `None`.
    pub kept: Option<Element>,
    /// Number of rows from which 16-bit weights are multiplied on tensor cores, with activations rounded to their
    /// type.
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

/// Failure to put a model on a machine.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The tensors were refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Too many query heads share a key head.
    #[error("{heads} heads over {kv_heads} of keys: at most 16 may share one on a GPU; serve it with `--device cpu`")]
    Heads { heads: usize, kv_heads: usize },
    #[error("the device failed: {0}")]
    Machine(#[from] MachineError),
}

/// Activations on the machine: one row for each token of the step.
pub struct Rows<B> {
    buffer: B,
    rows: usize,
}

/// The operations of a machine: a model's weights, pages and slots in its memory.
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
    /// Bound to parameters that a kernel does not read.
    unbound: M::Buffer,
}

/// Converts a count to the type that kernels take.
pub fn count(n: usize) -> u32 {
    u32::try_from(n).expect("rows, widths and their products are bounded by the configuration")
}

impl Model {
    /// Puts the model on a machine that runs kernels. Fails if more than 16 query heads share a key head.
    pub fn on_gpu<M: Machine>(&self, machine: M, options: GpuOptions) -> Result<Decoder<Gpu<M>>, GpuError> {
        let gpu = Gpu::new(machine, self, options)?;
        let shape = gpu.shape();
        Ok(Decoder::new(gpu, self.config().layers, shape))
    }
}

impl<M: Machine> Gpu<M> {
    /// Uploads the weights and reserves the pages.
    fn new(mut machine: M, model: &Model, options: GpuOptions) -> Result<Self, GpuError> {
        let config = model.config();
        assert!(options.page_tokens > 0, "a page holds a position");
        let (heads, kv_heads) = (config.heads, config.kv_heads);
        if heads / kv_heads > cube::ATTENTION_QUERIES[cube::ATTENTION_QUERIES.len() - 1] {
            return Err(GpuError::Heads { heads, kv_heads });
        }
        let weights = Weights::take(&mut machine, model)?;
        let kept = options.kept.unwrap_or(weights.element);
        let page = kv_heads * options.page_tokens * config.head * kept.bytes();
        let mut pool = || {
            let pages = (0..config.layers).map(|_| machine.reserve(u64::from(options.pages.max(1)) * page as u64));
            pages.collect::<Vec<_>>()
        };
        let (keys, values) = (pool(), pool());
        let adapters = Adapters::new(&mut machine, config, kept, options.slots, options.adapter_bytes);
        Ok(Self {
            unbound: machine.upload(&[0; 32]),
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

    /// Returns the sizes that the scheduler needs.
    fn shape(&self) -> Shape {
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

    /// Launches a kernel with one thread for each number of a row.
    fn elementwise(&mut self, kernel: Kernel, rows: usize, width: usize, buffers: &[&M::Buffer], scalars: &[Scalar]) {
        let columns = count(width).div_ceil(ELEMENTWISE_THREADS);
        self.machine.launch(kernel, [columns, count(rows), 1], buffers, scalars);
    }
}
