//! What `pico` is: its shape, its corpus and its recipe. The model is a function of what stands here, to the bit.

use compute::model::{Config, Dimensions};
use train::{Method, Recipe, Schedule, vocabulary};

/// Everything that decides what the model becomes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Of the corpus, of what the weights begin as, and of the order of documents.
    pub(crate) seed: u64,
    /// Bytes of text that it reads.
    pub(crate) corpus_bytes: usize,
    /// Its shape.
    pub(crate) extents: Dimensions,
    /// How it learns.
    pub(crate) recipe: Recipe,
}

impl Default for Plan {
    fn default() -> Self {
        let seed = 1;
        Self {
            seed,
            corpus_bytes: 14_000_000,
            extents: Dimensions {
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
    /// The shape, with the token that ends a text.
    pub(crate) fn config(&self) -> Config {
        let end = vocabulary::special(vocabulary::END).expect("it is one of the special tokens");
        Config::llama(self.extents, end).expect("the extents above make a model")
    }
}
