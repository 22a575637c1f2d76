//! The weights of a model as the processor's kernels read them, and adapters beside them.

use std::sync::Arc;

use crate::{
    forward::StepError,
    kernel::{Quantise, weight::Weight},
    lora::{Adapter, AdapterHash, Projection, Site},
    model::{Config, ModelError, files::Tensors},
    tensors::Matrix,
};

/// All of them.
pub(crate) struct Weights {
    pub(crate) embedding: Weight,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Vec<f32>,
    /// The output layer: the embedding's twin where they are tied.
    pub(crate) head: Weight,
}

/// Those of a block.
pub(crate) struct Block {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) feed_forward_norm: Vec<f32>,
    /// Norms of queries and keys, in families that have them.
    pub(crate) head_norms: Option<[Vec<f32>; 2]>,
    /// In the order of [`Projection::ALL`].
    pub(crate) linear: Vec<(Weight, Option<Vec<f32>>)>,
}

impl Block {
    /// A linear layer and its bias.
    pub(crate) fn linear(&self, site: Projection) -> (&Weight, Option<&[f32]>) {
        let (weight, bias) = &self.linear[site as usize];
        (weight, bias.as_deref())
    }
}

impl Weights {
    /// Takes the tensors that the configuration asks for. The linear layers are quantised if so wished; the embedding,
    /// whose rows are read one by one, and the norms are not.
    pub(crate) fn take(tensors: &Tensors, config: &Config, quantise: Quantise) -> Result<Self, ModelError> {
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
        let head_norms = if config.family == crate::model::Family::Qwen3 {
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

/// An adapter in its slot: nothing is copied.
pub(super) struct Slot {
    pub(super) hash: AdapterHash,
    /// Those of the sites it acts on, and of no others: thousands of small adapters sit in slots.
    factors: Vec<Factors>,
    /// Where those of each layer's sites are, if anywhere.
    places: Vec<[u16; 7]>,
}

/// No place.
const NOWHERE: u16 = u16::MAX;

/// The factors of a site.
pub(super) struct Factors {
    pub(super) a: Weight,
    pub(super) b: Weight,
    pub(super) scale: f32,
}

impl Slot {
    /// Checks that an adapter fits the model.
    pub(super) fn of(adapter: &Arc<Adapter>, config: &Config) -> Result<Self, StepError> {
        let misfit = |why| StepError::Misfit {
            adapter: format!("{:#}", adapter.hash().0),
            why,
        };
        let mut factors = Vec::with_capacity(adapter.sites().len());
        let mut places = vec![[NOWHERE; 7]; config.layers];
        for (site, low) in adapter.sites() {
            let Some(layer) = places.get_mut(site.layer as usize) else {
                return Err(misfit(format!(
                    "it has a layer {site} and the base {} blocks",
                    config.layers
                )));
            };
            let [out, inside] = config.linear_shape(site.projection);
            if (low.b.columns, low.a.columns) != (out, inside) {
                let have = (low.b.columns, low.a.columns);
                return Err(misfit(format!(
                    "{site} is for {have:?} and the base has ({out}, {inside})"
                )));
            }
            layer[site.projection as usize] =
                u16::try_from(factors.len()).expect("layers are bounded by the configuration");
            factors.push(Factors {
                a: weight(&low.a),
                b: weight(&low.b),
                scale: low.scale,
            });
        }
        Ok(Self {
            hash: adapter.hash(),
            factors,
            places,
        })
    }

    pub(super) fn at(&self, layer: usize, site: Projection) -> Option<&Factors> {
        self.factors.get(usize::from(self.places[layer][site as usize]))
    }
}

fn weight(matrix: &Matrix) -> Weight {
    Weight::stored(matrix.rows, matrix.columns, matrix.dtype, matrix.share())
}
