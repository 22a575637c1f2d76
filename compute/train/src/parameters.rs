//! The trained parameters: named tensors of singles in a fixed order, which the network reads and the optimiser
//! writes.

#![allow(unsafe_code, reason = "singles are shown to kernels as the bytes they are")]

use std::{collections::BTreeMap, sync::Arc};

use compute::{
    kernel::weight::Weight,
    lora::{Adapter, LowRank, Projection, Site},
    model::{
        Config, Family, Model, ModelError,
        weights::{Block, Weights},
    },
    random::{Random, Stream},
    tensors::{Dtype, Matrix},
};
use safetensors::tensor::{Dtype as FileDtype, TensorView};

use super::{
    cpu::{LoraBlocks, gradient_slots::GradientSlots, parallel_ops::LoraFactors},
    recipe::Recipe,
};

/// Singles whose bytes kernels read like those of a file.
struct Singles(Vec<f32>);

impl AsRef<[u8]> for Singles {
    fn as_ref(&self) -> &[u8] {
        let bytes = self.0.as_slice();
        // SAFETY: singles have no padding, and any bytes are bytes.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), size_of_val(bytes)) }
    }
}

/// One trained tensor.
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// Number of rows; 1 for a vector.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    values: Arc<Singles>,
    is_vector: bool,
}

/// The kind of model that the parameters make up.
enum Owner {
    /// An adapter: A of site `i` is tensor `2 i`, B (transposed) is `2 i + 1`.
    Adapter { sites: Vec<Site>, scale: f32 },
    /// All weights of a model.
    Model,
}

/// All trained tensors.
pub(crate) struct Parameters {
    tensors: Vec<Tensor>,
    owner: Owner,
    config: Config,
}

impl Parameters {
    /// Makes an adapter that changes nothing yet: A uniform within ±1/√in, as PEFT initialises it, and B zero.
    pub(crate) fn adapter(config: &Config, recipe: &Recipe, projections: &[Projection]) -> Self {
        let (mut tensors, mut sites) = (Vec::new(), Vec::new());
        for layer in 0..u32::try_from(config.layers).expect("layers are few") {
            for projection in projections {
                let site = Site {
                    layer,
                    projection: *projection,
                };
                let [out, inside] = config.linear_shape(*projection);
                let random = Random::new(recipe.seed, Stream::Parameter(number(tensors.len())));
                let bound = 1.0 / (inside as f32).sqrt();
                let a = (0..recipe.rank * inside)
                    .map(|i| bound * random.uniform(i as u64))
                    .collect();
                tensors.push(Tensor::new(format!("{site}.lora_A"), recipe.rank, inside, a));
                let b = vec![0.0; recipe.rank * out];
                tensors.push(Tensor::new(format!("{site}.lora_B"), recipe.rank, out, b));
                sites.push(site);
            }
        }
        Self {
            tensors,
            owner: Owner::Adapter {
                sites,
                scale: recipe.scale(),
            },
            config: config.clone(),
        }
    }

    /// Takes the factors of an adapter; `None` if it does not fit the model or its sites differ in scale.
    pub(crate) fn of_adapter(config: &Config, adapter: &Adapter) -> Option<Self> {
        let scale = adapter.sites().values().next()?.scale;
        let (mut tensors, mut sites) = (Vec::new(), Vec::new());
        for (site, low) in adapter.sites() {
            let [out, inside] = config.linear_shape(site.projection);
            let fits = low.scale == scale && (low.a.columns, low.b.columns) == (inside, out);
            if !fits || site.layer as usize >= config.layers {
                return None;
            }
            tensors.push(Tensor::new(
                format!("{site}.lora_A"),
                low.rank(),
                inside,
                low.a.to_f32(),
            ));
            tensors.push(Tensor::new(format!("{site}.lora_B"), low.rank(), out, low.b.to_f32()));
            sites.push(*site);
        }
        Some(Self {
            tensors,
            owner: Owner::Adapter { sites, scale },
            config: config.clone(),
        })
    }

    /// Takes every weight of a model.
    pub(crate) fn model(model: &Model) -> Result<Self, ModelError> {
        let tensors = model.config().tensors().into_iter().map(|(name, shape)| {
            let values = model.singles(&name, &shape)?;
            Ok(Tensor::shaped(name, &shape, values))
        });
        Ok(Self {
            tensors: tensors.collect::<Result<_, ModelError>>()?,
            owner: Owner::Model,
            config: model.config().clone(),
        })
    }

    /// Makes initial weights: matrices normal with deviation 0.02, those that write to the residual stream narrower
    /// by the root of their number, gains one, biases zero.
    pub(crate) fn begin(config: &Config, seed: u64) -> Self {
        let deep = (2.0 * config.layers as f32).sqrt();
        let tensors = config.tensors().into_iter().enumerate().map(|(index, (name, shape))| {
            let count: usize = shape.iter().product();
            let random = Random::new(seed, Stream::Parameter(number(index)));
            let ends = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
            let deviation = if ends { 0.02 / deep } else { 0.02 };
            let values = match (shape.len(), name.ends_with("bias")) {
                (2, _) => (0..count).map(|i| deviation * random.normal(i as u64)).collect(),
                (_, true) => vec![0.0; count],
                (_, false) => vec![1.0; count],
            };
            Tensor::shaped(name, &shape, values)
        });
        Self {
            tensors: tensors.collect(),
            owner: Owner::Model,
            config: config.clone(),
        }
    }

    /// Returns the gradient slots of all tensors.
    pub(crate) fn gradient_slots(&self) -> GradientSlots {
        match &self.owner {
            Owner::Model => GradientSlots::full(&self.config),
            Owner::Adapter { sites, .. } => {
                let mut slots = GradientSlots::none(&self.config);
                for (index, site) in sites.iter().enumerate() {
                    let slot = &mut slots.blocks[site.layer as usize].linear[site.projection as usize];
                    slot.lora = Some((2 * index, 2 * index + 1));
                }
                slots
            }
        }
    }

    /// Makes gradients of zero, with one for a tied output layer at the end.
    pub(crate) fn gradients(&self) -> Vec<Vec<f32>> {
        let mut gradients: Vec<Vec<f32>> = self.zeros();
        if self.owns_model() && self.config.tied {
            gradients.push(vec![0.0; self.config.vocabulary * self.config.hidden]);
        }
        gradients
    }

    /// Makes a zero for each number.
    pub(crate) fn zeros(&self) -> Vec<Vec<f32>> {
        self.tensors
            .iter()
            .map(|tensor| vec![0.0; tensor.values().len()])
            .collect()
    }

    /// Adds the gradient of a tied output layer to the embedding's.
    pub(crate) fn join(&self, gradients: &mut [Vec<f32>]) {
        if let ([own @ .., head], true) = (gradients, self.owns_model() && self.config.tied) {
            let at = self
                .tensors
                .iter()
                .position(|tensor| tensor.name == "model.embed_tokens.weight");
            let onto = &mut own[at.expect("a model has an embedding")];
            onto.iter_mut().zip(head).for_each(|(onto, d)| *onto += *d);
        }
    }

    /// True if the model's own weights are trained.
    pub(crate) fn owns_model(&self) -> bool {
        matches!(self.owner, Owner::Model)
    }

    /// Returns the weights and factors that a network reads. Until it drops them, nothing can be written.
    pub(crate) fn bound(&self) -> (Option<Weights>, LoraBlocks) {
        match &self.owner {
            Owner::Model => (Some(self.weights()), LoraBlocks::new()),
            Owner::Adapter { sites, scale } => {
                let mut lora: LoraBlocks = (0..self.config.layers).map(|_| Default::default()).collect();
                for (index, site) in sites.iter().enumerate() {
                    lora[site.layer as usize][site.projection as usize] = Some(LoraFactors {
                        a: self.tensors[2 * index].weight(),
                        b: self.tensors[2 * index + 1].weight(),
                        scale: *scale,
                    });
                }
                (None, lora)
            }
        }
    }

    fn weights(&self) -> Weights {
        let by_name: BTreeMap<&str, &Tensor> = self
            .tensors
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor))
            .collect();
        let vector = |name: &str| by_name[name].values().to_vec();
        let blocks = (0..self.config.layers).map(|layer| {
            let norm = |which: &str| vector(&format!("model.layers.{layer}.{which}.weight"));
            let linear = Projection::ALL.map(|site| {
                let path = format!("model.layers.{layer}.{}.{}", site.block(), site.name());
                let bias = self.config.has_bias(site).then(|| vector(&format!("{path}.bias")));
                (by_name[format!("{path}.weight").as_str()].weight(), bias)
            });
            Block {
                attention_norm: norm("input_layernorm"),
                feed_forward_norm: norm("post_attention_layernorm"),
                head_norms: (self.config.family == Family::Qwen3)
                    .then(|| [norm("self_attn.q_norm"), norm("self_attn.k_norm")]),
                linear: linear.into_iter().collect(),
            }
        });
        let embedding = by_name["model.embed_tokens.weight"].weight();
        Weights {
            head: by_name
                .get("lm_head.weight")
                .map_or_else(|| embedding.clone(), |head| head.weight()),
            embedding,
            blocks: blocks.collect(),
            norm: vector("model.norm.weight"),
        }
    }

    /// Returns the factor of an adapter's product.
    #[cfg(feature = "gpu")]
    pub(crate) fn scale(&self) -> Option<f32> {
        match &self.owner {
            Owner::Adapter { scale, .. } => Some(*scale),
            Owner::Model => None,
        }
    }

    /// Returns the tensors in order.
    pub(crate) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Returns the numbers of a tensor for writing.
    ///
    /// # Panics
    ///
    /// If a network still reads them.
    pub(crate) fn change(&mut self, index: usize) -> &mut [f32] {
        let values = Arc::get_mut(&mut self.tensors[index].values);
        &mut values.expect("the net let go of them").0
    }

    /// Returns the adapter, if the parameters are one.
    pub(crate) fn to_adapter(&self) -> Option<Adapter> {
        let Owner::Adapter { sites, scale } = &self.owner else {
            return None;
        };
        let matrix = |tensor: &Tensor| Matrix::of_f32(tensor.rows, tensor.columns, tensor.values());
        let lora = sites.iter().enumerate().map(|(index, site)| {
            let low = LowRank {
                scale: *scale,
                a: matrix(&self.tensors[2 * index]),
                b: matrix(&self.tensors[2 * index + 1]),
            };
            (*site, low)
        });
        Some(Adapter::new(lora.collect()))
    }

    /// Returns a safetensors file of all tensors.
    pub(crate) fn to_safetensors(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|tensor| {
            let shape = match tensor.is_vector {
                true => vec![tensor.columns],
                false => vec![tensor.rows, tensor.columns],
            };
            let view = TensorView::new(FileDtype::F32, shape, (*tensor.values).as_ref());
            (tensor.name.as_str(), view.expect("a tensor has all its numbers"))
        });
        safetensors::serialize(views, None).expect("names are distinct and shapes fit")
    }
}

impl Tensor {
    fn new(name: String, rows: usize, columns: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), rows * columns);
        Self {
            name,
            rows,
            columns,
            values: Arc::new(Singles(values)),
            is_vector: false,
        }
    }

    fn shaped(name: String, shape: &[usize], values: Vec<f32>) -> Self {
        match shape {
            [columns] => Self {
                is_vector: true,
                ..Self::new(name, 1, *columns, values)
            },
            [rows, columns] => Self::new(name, *rows, *columns, values),
            _ => unreachable!("tensors of a decoder are vectors and matrices"),
        }
    }

    /// Returns the numbers.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values.0
    }

    /// True if weight decay applies: to matrices, not to gains and biases.
    pub(crate) fn decays(&self) -> bool {
        !self.is_vector
    }

    fn weight(&self) -> Weight {
        let numbers = Arc::clone(&self.values);
        Weight::stored(&Matrix::held(self.rows, self.columns, Dtype::F32, numbers))
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("tensors are few")
}
