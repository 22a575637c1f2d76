//! Writes a model as a Hugging Face folder. The tokenizer is written by its own crate (`train::vocabulary`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use safetensors::tensor::{Dtype as FileDtype, TensorView};
use serde::Serialize;

use super::{Config, Family, Model, RopeScaling, untrained::SPREAD};
use crate::tensors::Dtype;

/// Special tokens that `config.json` names beside those that end a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Token before a text.
    pub begin: Option<u32>,
    /// Token that fills a batch up.
    pub pad: Option<u32>,
}

/// Failure to write a model.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("could not write {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The configuration has a property that the writer has no field for; the text names it.
    #[error("a model of {0} cannot be written; Llama's shape with positions as trained can")]
    Shape(&'static str),
}

impl Config {
    /// Returns the text of `config.json`.
    fn written(&self, marks: SpecialTokens, dtype: Dtype) -> Result<Vec<u8>, WriteError> {
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

/// The fields of `config.json`, in the order in which `transformers` writes them.
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

impl Model {
    /// Writes `config.json` and `model.safetensors` into a folder, which is made if it is missing. Does not write a
    /// tokenizer.
    pub fn write(&self, dir: &Path, marks: SpecialTokens) -> Result<(), WriteError> {
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
        // Transformers refuses a file without this line.
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let weights = safetensors::serialize(views, Some(metadata)).expect("names are distinct and shapes fit");
        fs::create_dir_all(dir).map_err(|source| WriteError::File {
            path: dir.to_owned(),
            source,
        })?;
        put(&dir.join("model.safetensors"), &weights)?;
        // Written last: a folder with a configuration is taken for a model.
        put(&dir.join("config.json"), &config)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::untrained::tests::{dimensions, numbers},
        *,
    };
    use crate::model::Dimensions;

    #[test]
    fn a_written_model_is_read_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        for tied in [true, false] {
            let config = Config::llama(Dimensions { tied, ..dimensions() }, 1).unwrap();
            let model = Model::untrained(&config, 7);
            let marks = SpecialTokens {
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
    fn a_configuration_that_cannot_be_written_is_refused() {
        let scaled = Config {
            rope_scaling: RopeScaling::Linear { factor: 2.0 },
            ..Config::llama(dimensions(), 1).unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        let refused = Model::untrained(&scaled, 7).write(dir.path(), SpecialTokens::default());
        assert!(matches!(refused, Err(WriteError::Shape(_))));
    }
}
