//! The weights of a model by layer, in the form that the processor's kernels read.

use super::{Config, Family, Model, ModelError, files::Tensors};
use crate::{
    kernel::{Quantise, weight::Weight},
    lora::{Projection, Site},
};

/// All weights of a model.
pub struct Weights {
    /// `[vocabulary, hidden]`, one row per token.
    pub embedding: Weight,
    /// The blocks, first to last.
    pub blocks: Vec<Block>,
    /// Gain of the last norm.
    pub norm: Vec<f32>,
    /// Output layer; shares the embedding's memory where the two are tied.
    pub head: Weight,
}

/// The weights of one block.
pub struct Block {
    /// Gain of the norm before attention.
    pub attention_norm: Vec<f32>,
    /// Gain of the norm before the feed-forward layers.
    pub feed_forward_norm: Vec<f32>,
    /// Gains of the norms of queries and keys (Qwen3).
    pub head_norms: Option<[Vec<f32>; 2]>,
    /// Linear layers and their biases, in the order of [`Projection::ALL`].
    pub linear: Vec<(Weight, Option<Vec<f32>>)>,
}

impl Block {
    /// Returns a linear layer and its bias.
    pub fn linear(&self, site: Projection) -> (&Weight, Option<&[f32]>) {
        let (weight, bias) = &self.linear[site as usize];
        (weight, bias.as_deref())
    }
}

impl Weights {
    /// Takes the tensors that the configuration asks for. Fails if one is missing, of another shape, or a bias that
    /// the configuration does not know.
    ///
    /// Linear layers are quantised if asked; the embedding, whose rows are read one by one, and the norms are not.
    pub fn take(model: &Model, quantise: Quantise) -> Result<Self, ModelError> {
        let (tensors, config) = (model.tensors(), model.config());
        let embedding = tensors.matrix("model.embed_tokens.weight", config.vocabulary, config.hidden)?;
        let head = if config.tied {
            embedding.clone()
        } else {
            tensors.matrix("lm_head.weight", config.vocabulary, config.hidden)?
        };
        let blocks: Result<_, _> = (0..config.layers)
            .map(|layer| Block::take(tensors, config, layer, quantise))
            .collect();
        Ok(Self {
            embedding,
            blocks: blocks?,
            norm: tensors.vector("model.norm.weight", config.hidden)?,
            head: head.quantised(quantise),
        })
    }
}

impl Block {
    fn take(tensors: &Tensors, config: &Config, layer: usize, quantise: Quantise) -> Result<Self, ModelError> {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}.weight");
        let number = u32::try_from(layer).expect("layers are bounded by the configuration");
        let linear = |projection: Projection| {
            let site = Site {
                layer: number,
                projection,
            };
            let [rows, columns] = config.linear_shape(projection);
            let weight = tensors
                .matrix(&format!("{site}.weight"), rows, columns)?
                .quantised(quantise);
            let name = format!("{site}.bias");
            let bias = match (config.has_bias(projection), tensors.has(&name)) {
                (true, _) => Some(tensors.vector(&name, rows)?),
                (false, false) => None,
                (false, true) => {
                    return Err(ModelError::Tensor {
                        tensor: name,
                        why: "is a bias that config.json knows nothing of".to_owned(),
                    });
                }
            };
            Ok((weight, bias))
        };
        let head_norms = if config.family == Family::Qwen3 {
            let norm = |which: &str| tensors.vector(&name(&format!("self_attn.{which}_norm")), config.head);
            Some([norm("q")?, norm("k")?])
        } else {
            None
        };
        Ok(Self {
            attention_norm: tensors.vector(&name("input_layernorm"), config.hidden)?,
            feed_forward_norm: tensors.vector(&name("post_attention_layernorm"), config.hidden)?,
            head_norms,
            linear: Projection::ALL
                .into_iter()
                .map(linear)
                .collect::<Result<_, ModelError>>()?,
        })
    }
}
