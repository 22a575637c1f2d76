//! A model to a directory as Hugging Face has it, and models that have learned nothing yet.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use safetensors::tensor::{Dtype as FileDtype, TensorView};
use serde::Serialize;

use super::{Config, Family, Model, RopeScaling};
use crate::{
    lora::Projection,
    tensors::Dtype,
    train::{Random, Stream},
};

/// Tokens with a meaning of their own that a configuration names beside those that end a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The one before a text.
    pub begin: Option<u32>,
    /// The one that fills a batch up.
    pub pad: Option<u32>,
}

/// A model that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file of it.
    #[error("could not write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its shape has no field in a configuration here.
    #[error("a model of {0} cannot be written; Llama's shape with positions as trained can")]
    Shape(&'static str),
}

/// The extents of a model that is trained from nothing. Heads are `hidden / heads` wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Tokens there are.
    pub vocabulary: usize,
    /// Width between blocks.
    pub hidden: usize,
    /// Width inside the feed-forward part.
    pub intermediate: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Positions it is made for.
    pub context_tokens_max: usize,
    /// Whether the embedding is the output layer too.
    pub tied: bool,
}

/// Extents that make no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {value}, which {why}")]
pub struct ExtentError {
    /// Which.
    pub field: &'static str,
    /// What it is.
    pub value: usize,
    /// What is wrong, or what would do.
    pub why: &'static str,
}

impl Config {
    /// Llama's shape with those extents, whose texts end with that token.
    pub fn llama(extents: Extents, end: u32) -> Result<Self, ExtentError> {
        let Extents {
            vocabulary,
            hidden,
            intermediate,
            layers,
            heads,
            kv_heads,
            context_tokens_max,
            tied,
        } = extents;
        let refuse = |field, value, why| Err(ExtentError { field, value, why });
        for (field, value, most) in [
            ("vocabulary", vocabulary, 1 << 20),
            ("hidden", hidden, 1 << 16),
            ("intermediate", intermediate, 1 << 18),
            ("layers", layers, 512),
            ("heads", heads, 1024),
            ("kv_heads", kv_heads, 1024),
            ("context_tokens_max", context_tokens_max, 1 << 24),
        ] {
            if !(1..=most).contains(&value) {
                return refuse(field, value, "is none, or more than any model has");
            }
        }
        if !hidden.is_multiple_of(2 * heads) {
            return refuse("heads", heads, "does not divide `hidden` into heads of even width");
        }
        if !heads.is_multiple_of(kv_heads) {
            return refuse("kv_heads", kv_heads, "does not divide `heads`");
        }
        if end as usize >= vocabulary {
            return refuse("vocabulary", vocabulary, "does not hold the token that ends a text");
        }
        Ok(Self {
            family: Family::Llama,
            vocabulary,
            hidden,
            intermediate,
            layers,
            heads,
            kv_heads,
            head: hidden / heads,
            context_tokens_max,
            norm_epsilon: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            tied,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            end_tokens: vec![end],
        })
    }

    /// The text of `config.json`.
    fn written(&self, marks: Marks, dtype: Dtype) -> Result<Vec<u8>, WriteError> {
        let end_tokens = match self.end_tokens.as_slice() {
            [] => None,
            [one] => Some(End::One(*one)),
            several => Some(End::Several(several.to_vec())),
        };
        match () {
            () if self.family != Family::Llama => return Err(WriteError::Shape("another family")),
            () if self.rope_scaling != RopeScaling::None => return Err(WriteError::Shape("scaled positions")),
            () if self.qkv_bias != self.output_bias => return Err(WriteError::Shape("biases on a part of attention")),
            () => (),
        }
        let written = Written {
            architectures: ["LlamaForCausalLM"],
            model_type: "llama",
            vocab_size: self.vocabulary,
            hidden_size: self.hidden,
            intermediate_size: self.intermediate,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.kv_heads,
            head_dim: self.head,
            hidden_act: "silu",
            max_position_embeddings: self.context_tokens_max,
            rms_norm_eps: self.norm_epsilon,
            rope_theta: self.rope_theta,
            tie_word_embeddings: self.tied,
            attention_bias: self.qkv_bias,
            mlp_bias: self.mlp_bias,
            initializer_range: SPREAD,
            bos_token_id: marks.begin,
            eos_token_id: end_tokens,
            pad_token_id: marks.pad,
            torch_dtype: match dtype {
                Dtype::F32 => "float32",
                Dtype::F16 => "float16",
                Dtype::BF16 => "bfloat16",
            },
        };
        Ok(serde_json::to_vec_pretty(&written).expect("names and numbers"))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum End {
    One(u32),
    Several(Vec<u32>),
}

/// `config.json`, in the order in which others write it.
#[derive(Serialize)]
struct Written {
    architectures: [&'static str; 1],
    model_type: &'static str,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    hidden_act: &'static str,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    rope_theta: f64,
    tie_word_embeddings: bool,
    attention_bias: bool,
    mlp_bias: bool,
    initializer_range: f32,
    bos_token_id: Option<u32>,
    eos_token_id: Option<End>,
    pad_token_id: Option<u32>,
    torch_dtype: &'static str,
}

/// The standard deviation of weights before anything is learned. Radford et al., 2019.
const SPREAD: f32 = 0.02;

impl Model {
    /// A model that has learned nothing: weights normal, narrower by the root of how many are summed where a block adds
    /// to what passes it, norms one and biases zero. A function of the shape and the seed, the same on every machine.
    pub fn untrained(config: &Config, seed: u64) -> Self {
        let narrow = SPREAD / (2.0 * config.layers as f32).sqrt();
        let names: Vec<String> = config.tensors().into_keys().collect();
        Self::random_with(config, seed, |name, numbers| {
            let onto = [Projection::O, Projection::Down];
            let adds = onto
                .iter()
                .any(|projection| name.ends_with(&format!("{}.weight", projection.name())));
            match name {
                _ if name.ends_with("norm.weight") => numbers.fill(1.0),
                _ if name.ends_with(".bias") => numbers.fill(0.0),
                _ => {
                    let place = names
                        .iter()
                        .position(|known| known == name)
                        .expect("it is a tensor of the shape");
                    let random = Random::new(seed, Stream::Weight(u32::try_from(place).expect("tensors are few")));
                    let spread = if adds { narrow } else { SPREAD };
                    (0..)
                        .zip(numbers)
                        .for_each(|(index, number)| *number = spread * random.normal(index));
                }
            }
        })
    }

    /// Writes `config.json` and `model.safetensors` into a directory, which is made where there is none. The tokenizer is
    /// not the model's to write.
    pub fn write(&self, dir: &Path, marks: Marks) -> Result<(), WriteError> {
        let put = |path: &Path, bytes: &[u8]| {
            fs::write(path, bytes).map_err(|source| WriteError::File {
                path: path.to_owned(),
                source,
            })
        };
        let dtype = self
            .tensors
            .iter()
            .map(|(_, (dtype, _, _))| *dtype)
            .next()
            .unwrap_or(Dtype::F32);
        let config = self.config.written(marks, dtype)?;
        let view = |(name, (dtype, shape, bytes)): (&String, &super::files::Tensor)| {
            let dtype = match dtype {
                Dtype::F32 => FileDtype::F32,
                Dtype::F16 => FileDtype::F16,
                Dtype::BF16 => FileDtype::BF16,
            };
            (name.clone(), dtype, shape.clone(), bytes.clone())
        };
        let held: Vec<_> = self.tensors.iter().map(view).collect();
        let views = held.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes.get()).expect("a tensor fills its shape");
            (name.clone(), view)
        });
        // Readers that know weights by their makers' names ask for this line.
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let weights = safetensors::serialize(views, Some(metadata)).expect("names are distinct and shapes fit");
        fs::create_dir_all(dir).map_err(|source| WriteError::File {
            path: dir.to_owned(),
            source,
        })?;
        put(&dir.join("model.safetensors"), &weights)?;
        // Last, since a directory with a configuration is taken for a model.
        put(&dir.join("config.json"), &config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents() -> Extents {
        Extents {
            vocabulary: 300,
            hidden: 32,
            intermediate: 80,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            context_tokens_max: 128,
            tied: true,
        }
    }

    fn numbers(model: &Model, name: &str) -> Vec<f32> {
        let shape = model.config.tensors().remove(name).unwrap();
        model.tensors.singles(name, &shape).unwrap()
    }

    fn spread(numbers: &[f32]) -> f64 {
        let mean = numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / numbers.len() as f64;
        assert!(mean.abs() < 2e-3, "{mean}");
        (numbers.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / numbers.len() as f64).sqrt()
    }

    #[test]
    fn an_untrained_model_begins_as_told() {
        let model = Model::untrained(&Config::llama(extents(), 1).unwrap(), 7);
        let is_near = |name: &str, expect: f64| {
            let spread = spread(&numbers(&model, name));
            assert!((spread / expect - 1.0).abs() < 0.06, "{name}: {spread} beside {expect}");
        };
        is_near("model.embed_tokens.weight", 0.02);
        is_near("model.layers.1.mlp.up_proj.weight", 0.02);
        is_near("model.layers.1.mlp.down_proj.weight", 0.02 / 6f64.sqrt());
        is_near("model.layers.2.self_attn.o_proj.weight", 0.02 / 6f64.sqrt());
        assert!(numbers(&model, "model.norm.weight").iter().all(|x| *x == 1.0));
        let (a, b) = (
            "model.layers.0.mlp.gate_proj.weight",
            "model.layers.0.mlp.up_proj.weight",
        );
        assert_ne!(numbers(&model, a), numbers(&model, b));
    }

    #[test]
    fn a_written_model_is_read_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        for tied in [true, false] {
            let config = Config::llama(Extents { tied, ..extents() }, 1).unwrap();
            let model = Model::untrained(&config, 7);
            let marks = Marks {
                begin: Some(0),
                pad: Some(2),
            };
            model.write(dir.path(), marks).unwrap();
            let read = Model::read(dir.path()).unwrap();
            assert_eq!(read.config(), &config);
            for name in config.tensors().keys() {
                assert_eq!(numbers(&read, name), numbers(&model, name), "{name}");
            }
            read.check().unwrap();
        }
    }

    #[test]
    fn the_same_seed_is_the_same_model_and_another_is_not() {
        let config = Config::llama(extents(), 1).unwrap();
        let name = "model.embed_tokens.weight";
        let of = |seed| numbers(&Model::untrained(&config, seed), name);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn extents_that_make_no_model_are_refused_by_name() {
        let check = |extents: Extents, field: &str| {
            assert_eq!(Config::llama(extents, 1).unwrap_err().field, field);
        };
        check(Extents { heads: 3, ..extents() }, "heads");
        check(
            Extents {
                kv_heads: 3,
                ..extents()
            },
            "kv_heads",
        );
        check(Extents { layers: 0, ..extents() }, "layers");
        check(
            Extents {
                vocabulary: 1,
                ..extents()
            },
            "vocabulary",
        );
        let scaled = Config {
            rope_scaling: RopeScaling::Linear { factor: 2.0 },
            ..Config::llama(extents(), 1).unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        let refused = Model::untrained(&scaled, 7).write(dir.path(), Marks::default());
        assert!(matches!(refused, Err(WriteError::Shape(_))));
    }
}
