//! The shape, corpus and recipe of `pico`. The model is a function of them, to the bit.

use compute::model::{Config, Dimensions};
use train::{Method, Recipe, Schedule, vocabulary};

/// Everything that decides the model.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Seed of the corpus, the initial weights and the order of documents.
    pub(crate) seed: u64,
    /// Bytes of text that it is trained on.
    pub(crate) corpus_bytes: usize,
    /// Sizes of the model.
    pub(crate) dimensions: Dimensions,
    /// Hyper-parameters.
    pub(crate) recipe: Recipe,
}

impl Default for Plan {
    fn default() -> Self {
        let seed = 1;
        Self {
            seed,
            corpus_bytes: 14_000_000,
            dimensions: Dimensions {
                vocabulary: 2048,
                hidden: 256,
                intermediate: 704,
                layers: 4,
                heads: 8,
                kv_heads: 4,
                context_tokens_max: 512,
                tied: true,
            },
            recipe: Recipe {
                seed,
                method: Method::Full,
                epochs: 2,
                batch: 64,
                tokens_max: 512,
                learning_rate: 3e-3,
                schedule: Schedule::Cosine,
                warmup_steps: 100,
                floor: 0.05,
                betas: [0.9, 0.98],
                decay: 0.1,
                clip: Some(1.0),
                validation: 0.005,
                validate_every: Some(250),
                ..Recipe::default()
            },
        }
    }
}

impl Plan {
    /// Returns the model's configuration.
    pub(crate) fn config(&self) -> Config {
        let end = vocabulary::special(vocabulary::END).expect("it is one of the special tokens");
        Config::llama(self.dimensions, end).expect("the dimensions above make a model")
    }
}
