//! Base models on disk: configuration, weights, tokenizer, chat template and sampling defaults of a Hugging Face
//! folder, and the store in which a home keeps them.
//!
//! - `config`: `config.json`. `files`, `mapped`, `weights`: the tensors. `store`: models by content.
//! - `tokenizer`, `chat`, `date`, `generation`: text in, text out.
//! - `untrained`, `random`, `from_f32`, `write`: models that are made here.
//!
//! # Why mapped files only from the store
//!
//! A mapped file that somebody truncates ends the process that reads it. So a folder of a user is copied
//! ([`Model::read`]), and only the store, whose files nobody else writes, is mapped ([`Model::map`]); `mapped`
//! handles the case that they change all the same.
//!
//! # Why the crates `safetensors` and `tokenizers`
//!
//! Tokenizers must split text exactly as the model's makers did, which only the reference library does; a panic in it
//! is caught, since the file is a stranger's. Tensor files are written with `safetensors`, but their headers are read
//! here (`tensors`), because every size has to be checked against the length of the file before memory is taken.

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

/// A base model: its configuration and its tensors, not yet on a device.
///
/// ```
/// use compute::model::{Config, Dimensions, Model};
///
/// let dimensions = Dimensions {
///     vocabulary: 64, hidden: 16, intermediate: 32, layers: 1, heads: 2, kv_heads: 1, context_tokens_max: 32, tied: true,
/// };
/// let config = Config::llama(dimensions, 0).unwrap();
/// let model = Model::untrained(&config, 7);
/// assert_eq!(model.singles("model.norm.weight", &[16]).unwrap(), [1.0; 16]);
/// assert!(model.singles("model.norm.weight", &[8]).is_err());
/// ```
pub struct Model {
    config: Config,
    tensors: Tensors,
}

impl Model {
    /// Copies a model out of a folder that others may write, and refuses numbers that are infinite or NaN.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        Self::open(dir, Access::Read)
    }

    /// Maps a model of the private store, whose numbers were checked when it was added.
    pub fn map(dir: &Path) -> Result<Self, ModelError> {
        Self::open(dir, Access::Map)
    }

    /// Checks that every number is finite and every weight of the configuration is there.
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

    /// Fails if a mapped file changed. What was computed with it must not be given out then.
    pub fn unchanged(&self) -> Result<(), ModelError> {
        match self.tensors.changed() {
            None => Ok(()),
            Some(file) => Err(ModelError::Changed { file }),
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the numbers of a tensor as singles. Fails if it is missing or of another shape.
    pub fn singles(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.tensors.singles(name, shape)
    }

    /// Iterates over all tensors by name: type, shape and bytes as stored.
    pub fn stored(&self) -> impl Iterator<Item = (&str, Dtype, &[usize], &[u8])> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, (dtype, shape, bytes))| (name.as_str(), *dtype, shape.as_slice(), bytes.get()))
    }

    /// Returns the tensors by name.
    pub(crate) fn tensors(&self) -> &Tensors {
        &self.tensors
    }
}

/// The text side of a model: tokenizer, chat template and sampling defaults.
pub struct Text {
    pub tokenizer: Tokenizer,
    /// Chat template; `None` for a base model that was not made for chats.
    pub chat: Option<Chat>,
    pub generation: Generation,
}

impl Text {
    /// Reads all three from a model's folder.
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
