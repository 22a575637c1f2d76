//! The position of each trained tensor's gradient in the list of parameters.

use compute::{
    lora::Projection,
    model::{Config, Family},
};

/// Gradient slots of a linear layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinearSlots {
    pub(crate) weight: Option<usize>,
    pub(crate) bias: Option<usize>,
    /// Slots of an adapter's factors A and B.
    pub(crate) lora: Option<(usize, usize)>,
}

/// Gradient slots of a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockSlots {
    pub(crate) linear: [LinearSlots; 7],
    pub(crate) attention_norm: Option<usize>,
    pub(crate) feed_forward_norm: Option<usize>,
    pub(crate) head_norms: Option<[usize; 2]>,
}

/// Gradient slots of a model; `None` for a tensor that is not trained.
#[derive(Clone, Debug, Default)]
pub(crate) struct GradientSlots {
    pub(crate) blocks: Vec<BlockSlots>,
    pub(crate) embedding: Option<usize>,
    pub(crate) norm: Option<usize>,
    /// Slot of the output layer. If it is tied, its gradient is added to the embedding's afterwards.
    pub(crate) head: Option<usize>,
}

impl BlockSlots {
    fn any(&self) -> bool {
        let norms = [self.attention_norm, self.feed_forward_norm];
        let linear = |slots: &LinearSlots| *slots != LinearSlots::default();
        norms.iter().any(Option::is_some) || self.head_norms.is_some() || self.linear.iter().any(linear)
    }

    pub(crate) fn linear(&self, site: Projection) -> LinearSlots {
        self.linear[site as usize]
    }
}

impl GradientSlots {
    /// Makes slots with nothing trained.
    pub(crate) fn none(config: &Config) -> Self {
        Self {
            blocks: vec![BlockSlots::default(); config.layers],
            ..Self::default()
        }
    }

    /// Makes slots for every tensor, in the order of [`Config::tensors`]; a tied output layer comes last.
    pub(crate) fn full(config: &Config) -> Self {
        let names: Vec<String> = config.tensors().into_keys().collect();
        let find = |name: &str| names.binary_search_by(|known| known.as_str().cmp(name)).ok();
        let blocks = (0..config.layers).map(|layer| {
            let norm = |which: &str| find(&format!("model.layers.{layer}.{which}.weight"));
            let linear = Projection::ALL.map(|site| {
                let path = format!("model.layers.{layer}.{}.{}", site.block(), site.name());
                LinearSlots {
                    weight: find(&format!("{path}.weight")),
                    bias: find(&format!("{path}.bias")),
                    lora: None,
                }
            });
            BlockSlots {
                linear,
                attention_norm: norm("input_layernorm"),
                feed_forward_norm: norm("post_attention_layernorm"),
                head_norms: (config.family == Family::Qwen3)
                    .then(|| Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]))
                    .flatten(),
            }
        });
        Self {
            blocks: blocks.collect(),
            embedding: find("model.embed_tokens.weight"),
            norm: find("model.norm.weight"),
            head: find("lm_head.weight").or(Some(names.len())),
        }
    }

    /// Returns the lowest block that needs gradients; `None` if only what follows the blocks is trained.
    pub(crate) fn lowest(&self) -> Option<usize> {
        match self.embedding {
            Some(_) => Some(0),
            None => self.blocks.iter().position(BlockSlots::any),
        }
    }
}
