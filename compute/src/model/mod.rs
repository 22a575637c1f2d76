//! Models as their directories describe them.

mod chat;
mod config;
mod date;
pub(crate) mod files;
mod from_f32;
mod generation;
pub(crate) mod mapped;
mod random;
pub mod rope;
mod store;
mod tokenizer;
mod untrained;
pub mod weights;
mod write;

use std::path::Path;

pub use chat::{Chat, ChatInput, ChatValue, RenderError};
pub use config::{Config, ConfigError, Family, RopeScaling};
pub use files::{ModelError, read_config};
pub use generation::Generation;
pub use store::{Store, StoreError, Stored, StoredFile};
pub use tokenizer::{TEXT_BYTES_MAX, TextStream, TokenizeError, Tokenizer};
pub use untrained::{DimensionError, Dimensions};
pub use write::{SpecialTokens, WriteError};

use crate::{kernel::Quantise, tensors::Dtype};
use files::{Access, Tensors};
use weights::Weights;

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
    pub fn map(dir: &Path) -> Result<Self, ModelError> {
        Self::open(dir, Access::Map)
    }

    /// Checks every number, and that the weights are all there.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        self.tensors.check_finite()?;
        Weights::take(self, Quantise::No).map(drop)
    }

    fn open(dir: &Path, access: Access) -> Result<Self, ModelError> {
        Ok(Self {
            config: read_config(dir)?,
            tensors: Tensors::open(dir, access)?,
        })
    }

    /// Refuses files that are no longer what was mapped. Nothing that was computed with them may be told.
    pub fn unchanged(&self) -> Result<(), ModelError> {
        match self.tensors.changed() {
            None => Ok(()),
            Some(file) => Err(ModelError::Changed { file }),
        }
    }

    /// Its shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The numbers of a tensor of that name and shape.
    pub fn singles(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.tensors.singles(name, shape)
    }

    /// Its tensors as stored, by name: type, extents and bytes.
    pub fn stored(&self) -> impl Iterator<Item = (&str, Dtype, &[usize], &[u8])> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, (dtype, shape, bytes))| (name.as_str(), *dtype, shape.as_slice(), bytes.get()))
    }

    /// Its weights.
    pub(crate) fn tensors(&self) -> &Tensors {
        &self.tensors
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
