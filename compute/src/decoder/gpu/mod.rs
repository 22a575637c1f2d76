//! A decoder on a GPU, or on whatever [`Machine`] runs its kernels.
//!
//! Weights, pages and adapters lie in the machine's memory; a step sends its tables in one piece and reads back nothing
//! but logits. Linear layers that read the same rows are one matrix: their outputs lie side by side in one buffer, which
//! is what [`Rows`] of several sites share. Sums run in another order than on processors, and in another one for other
//! numbers of rows, so nothing here is verified work.

mod adapters;
mod attend;
mod extents;
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
pub use cuda::Wanted as CudaWanted;

use self::{adapters::Adapters, tables::Tables, weights::Weights};
use super::Decoder;
use crate::{
    forward::Shape,
    model::{Config, Model, ModelError, rope::Rope},
};

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

/// A count as kernels take it.
pub fn count(n: usize) -> u32 {
    u32::try_from(n).expect("rows, widths and their products are bounded by the configuration")
}

impl Model {
    /// Puts it on a machine that runs kernels.
    pub fn on_gpu<M: Machine>(&self, machine: M, options: GpuOptions) -> Result<Decoder<Gpu<M>>, GpuError> {
        let gpu = Gpu::new(machine, self, options)?;
        let shape = gpu.shape();
        Ok(Decoder::new(gpu, self.config().layers, shape))
    }
}

impl<M: Machine> Gpu<M> {
    /// Puts a model onto a machine.
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

    /// What the scheduler has to know.
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

    /// A kernel whose threads each have one number of a row.
    fn elementwise(&mut self, kernel: Kernel, rows: usize, width: usize, buffers: &[&M::Buffer], scalars: &[Scalar]) {
        let columns = count(width).div_ceil(ELEMENTWISE_THREADS);
        self.machine.launch(kernel, [columns, count(rows), 1], buffers, scalars);
    }
}
