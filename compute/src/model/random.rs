//! Models of random weights in the shapes of real ones, for benchmarks: speed does not depend on the values.

use std::{collections::BTreeMap, sync::Arc};

use super::{Config, Family, Model, RopeScaling, files::Tensors};
use crate::{
    lora::{Adapter, LowRank, Projection, Site},
    tensors::{Bytes, Dtype, Matrix},
};

/// A cheap random sequence. Training uses [`crate::random`] instead.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        // SplitMix64: Steele, Lea and Flood, 2014.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    }

    fn bytes(&mut self, count: usize, scale: f32, dtype: Dtype) -> Arc<[u8]> {
        let mut bytes = Vec::with_capacity(count * dtype.bytes());
        for _ in 0..count {
            let x = self.next() * scale;
            match dtype {
                Dtype::F32 => bytes.extend(x.to_le_bytes()),
                Dtype::F16 => bytes.extend(half::f16::from_f32(x).to_le_bytes()),
                Dtype::BF16 => bytes.extend(half::bf16::from_f32(x).to_le_bytes()),
            }
        }
        bytes.into()
    }
}

/// 1 / √width.
fn spread(width: usize) -> f32 {
    1.0 / (width as f32).sqrt()
}

impl Config {
    /// Returns the shape of `SmolLM2` with 135 million weights.
    pub fn smol_135m() -> Self {
        Self {
            family: Family::Llama,
            vocabulary: 49_152,
            hidden: 576,
            intermediate: 1536,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head: 64,
            context_tokens_max: 8192,
            norm_epsilon: 1e-5,
            rope_theta: 100_000.0,
            rope_scaling: RopeScaling::None,
            tied: true,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            end_tokens: vec![0],
        }
    }

    /// Returns the shape of Qwen2.5 with half a billion weights.
    pub fn qwen_half_billion() -> Self {
        Self {
            family: Family::Qwen2,
            vocabulary: 151_936,
            hidden: 896,
            intermediate: 4864,
            layers: 24,
            heads: 14,
            kv_heads: 2,
            head: 64,
            context_tokens_max: 32_768,
            norm_epsilon: 1e-6,
            rope_theta: 1_000_000.0,
            qkv_bias: true,
            ..Self::smol_135m()
        }
    }

    /// Returns the name and shape of every tensor that a model of this configuration has.
    pub fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let mut tensors = BTreeMap::new();
        tensors.insert(
            "model.embed_tokens.weight".to_owned(),
            vec![self.vocabulary, self.hidden],
        );
        tensors.insert("model.norm.weight".to_owned(), vec![self.hidden]);
        if !self.tied {
            tensors.insert("lm_head.weight".to_owned(), vec![self.vocabulary, self.hidden]);
        }
        for layer in 0..u32::try_from(self.layers).expect("layers are few") {
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                tensors.insert(format!("model.layers.{layer}.{norm}.weight"), vec![self.hidden]);
            }
            if self.family == Family::Qwen3 {
                for norm in ["q_norm", "k_norm"] {
                    tensors.insert(format!("model.layers.{layer}.self_attn.{norm}.weight"), vec![self.head]);
                }
            }
            for projection in Projection::ALL {
                let (site, shape) = (Site { layer, projection }, self.linear_shape(projection));
                tensors.insert(format!("{site}.weight"), shape.to_vec());
                if self.has_bias(projection) {
                    tensors.insert(format!("{site}.bias"), vec![shape[0]]);
                }
            }
        }
        tensors
    }
}

impl Model {
    /// Makes a model of random weights.
    pub fn random(config: &Config, dtype: Dtype, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let tensors = config.tensors().into_iter().map(|(name, shape)| {
            let count = shape.iter().product();
            let scale = if shape.len() == 2 { 1.7 * spread(shape[1]) } else { 1.0 };
            let bytes = Bytes::all(Arc::new(numbers.bytes(count, scale, dtype)));
            (name, (dtype, shape, bytes))
        });
        Self {
            tensors: Tensors::of(tensors.collect()),
            config: config.clone(),
        }
    }

    /// Makes a model of random singles, which `change` may overwrite tensor by tensor, by name.
    pub fn random_with(config: &Config, seed: u64, mut change: impl FnMut(&str, &mut [f32])) -> Self {
        let random = Self::random(config, Dtype::F32, seed);
        let tensors = random.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            let mut numbers = Vec::new();
            dtype.read(bytes.get(), &mut numbers);
            change(name, &mut numbers);
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            (name.clone(), (*dtype, shape.clone(), Bytes::all(Arc::new(bytes))))
        });
        Self {
            tensors: Tensors::of(tensors.collect()),
            config: config.clone(),
        }
    }
}

impl Adapter {
    /// Makes an adapter of random factors of one rank, with scale 1, on every linear layer.
    pub fn random(config: &Config, rank: usize, dtype: Dtype, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let mut sites = BTreeMap::new();
        for layer in 0..u32::try_from(config.layers).expect("layers are few") {
            for projection in Projection::ALL {
                let [out, inside] = config.linear_shape(projection);
                let low = LowRank {
                    scale: 1.0,
                    a: Matrix::new(rank, inside, dtype, numbers.bytes(rank * inside, spread(inside), dtype)),
                    b: Matrix::new(rank, out, dtype, numbers.bytes(rank * out, 0.1 * spread(rank), dtype)),
                };
                sites.insert(Site { layer, projection }, low);
            }
        }
        Self::new(sites)
    }
}
