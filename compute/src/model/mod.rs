//! Models as their directories describe them.

mod chat;
mod config;
mod date;
pub(crate) mod files;
mod generation;
pub(crate) mod mapped;
mod numbers;
mod random;
pub(crate) mod rope;
mod store;
mod tokenizer;
mod untrained;
mod write;

use std::path::Path;

pub use chat::{Chat, ChatInput, ChatValue, RenderError};
pub use config::{Config, ConfigError, Family, RopeScaling};
pub use files::ModelError;
pub use generation::Generation;
pub use store::{Store, StoreError, Stored, StoredFile};
pub use tokenizer::{TEXT_BYTES_MAX, TextStream, TokenizeError, Tokenizer};
pub use untrained::{ExtentError, Extents};
pub use write::{Marks, WriteError};

use crate::decoder::{Cpu, CpuOptions, Decoder};
#[cfg(feature = "gpu")]
use crate::decoder::{Gpu, GpuError, GpuOptions};
use files::{Access, Tensors, read_config};

/// A base model: its shape and its weights, not yet on a device.
pub struct Model {
    config: Config,
    tensors: Tensors,
}

impl Model {
    /// Copies a model out of a directory that is somebody else's, and checks every number.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        Self::open(dir, Access::Read)
    }

    /// Maps a model whose directory is ours alone.
    pub(crate) fn map(dir: &Path) -> Result<Self, ModelError> {
        Self::open(dir, Access::Map)
    }

    /// Checks every number, and that the weights are all there.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        self.tensors.check_finite()?;
        let options = CpuOptions {
            threads: 1,
            pages: 0,
            slots: 0,
            ..CpuOptions::default()
        };
        self.on_cpu(options).map(drop)
    }

    fn open(dir: &Path, access: Access) -> Result<Self, ModelError> {
        Ok(Self {
            config: read_config(dir)?,
            tensors: Tensors::open(dir, access)?,
        })
    }

    /// Refuses files that are no longer what was mapped. Nothing that was computed with them may be told.
    pub(crate) fn unchanged(&self) -> Result<(), ModelError> {
        match self.tensors.changed() {
            None => Ok(()),
            Some(file) => Err(ModelError::Changed { file }),
        }
    }

    /// Its shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its weights.
    pub(crate) fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Puts it on the processor.
    pub fn on_cpu(&self, options: CpuOptions) -> Result<Decoder<Cpu>, ModelError> {
        let cpu = Cpu::new(&self.tensors, &self.config, options)?;
        let shape = cpu.shape(&options);
        Ok(Decoder::new(cpu, self.config.layers, shape))
    }
}

#[cfg(feature = "gpu")]
impl Model {
    /// What its weights take on such a machine.
    #[cfg(feature = "cuda")]
    pub(crate) fn gpu_bytes(&self) -> Result<u64, ModelError> {
        Gpu::<cube::cuda::Cuda>::weight_bytes(&self.tensors, &self.config)
    }

    /// Puts it on a machine that runs kernels.
    pub fn on_gpu<M: cube::Machine>(&self, machine: M, options: GpuOptions) -> Result<Decoder<Gpu<M>>, GpuError> {
        let gpu = Gpu::new(machine, &self.tensors, &self.config, options)?;
        let shape = gpu.shape();
        Ok(Decoder::new(gpu, self.config.layers, shape))
    }
}

/// What turns text into tokens for a model, and how it is sampled.
pub struct Text {
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template, if it has one.
    pub chat: Option<Chat>,
    /// Its defaults of sampling.
    pub generation: Generation,
}

impl Text {
    /// Reads all three from a model's directory.
    pub fn load(dir: &Path, config: &Config) -> Result<Self, ModelError> {
        Ok(Self {
            tokenizer: Tokenizer::load(dir, config)?,
            chat: Chat::load(dir)?,
            generation: Generation::load(dir, config)?,
        })
    }
}

#[cfg(test)]
mod tests;
