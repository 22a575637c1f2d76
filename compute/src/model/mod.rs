//! Models as their directories describe them.

mod config;
pub(crate) mod files;
pub(crate) mod rope;

use std::path::Path;

pub use config::{Config, ConfigError, Family, RopeScaling};
pub use files::ModelError;

use crate::decoder::{Cpu, CpuOptions, Decoder};
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

    fn open(dir: &Path, access: Access) -> Result<Self, ModelError> {
        Ok(Self {
            config: read_config(dir)?,
            tensors: Tensors::open(dir, access)?,
        })
    }

    /// Its shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Puts it on the processor.
    pub fn on_cpu(&self, options: CpuOptions) -> Result<Decoder<Cpu>, ModelError> {
        let cpu = Cpu::new(&self.tensors, &self.config, options)?;
        let shape = cpu.shape(&options);
        Ok(Decoder::new(cpu, self.config.layers, shape))
    }
}
