//! `config.json` of a Hugging Face folder. A field whose value would change the numbers and is not supported is
//! refused by its name.

#![allow(
    clippy::cast_possible_truncation,
    reason = "doubles are rounded to the singles that are computed with"
)]

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::lora::Projection;

/// The families of decoders that are supported. They differ in biases and norms only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama 2 and 3, `SmolLM2`, and others of their shape.
    Llama,
    /// Biases on queries, keys and values.
    Qwen2,
    /// Norms on queries and keys.
    Qwen3,
}

/// Scaling of rotary positions beyond the context of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// No scaling.
    None,
    /// All positions divided by a factor.
    Linear { factor: f64 },
    /// Llama 3.1: low frequencies are divided, high ones kept, with a ramp between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `trained_tokens / low` count as low frequencies.
        low: f64,
        /// Wavelengths below `trained_tokens / high` count as high frequencies.
        high: f64,
        /// Context of training.
        trained_tokens: f64,
    },
    /// `YaRN`: a ramp between divided and kept frequencies by their number of turns, and scaled attention.
    Yarn {
        /// Divisor of the slow dimensions.
        factor: f64,
        /// Dimensions with more turns over the trained context are kept.
        fast: f64,
        /// Dimensions with fewer turns over the trained context are divided.
        slow: f64,
        /// Context of training.
        trained_tokens: f64,
        /// Factor of sines and cosines.
        attention: f64,
        /// True if the ends of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
}

/// The shape of a decoder.
///
/// `Debug` of this type, of [`Family`] and of [`RopeScaling`] is hashed into the identity of training runs
/// (`train::base_hash`): a renamed field or variant would change the name of every run.
///
/// ```
/// use compute::model::Config;
///
/// let error = Config::parse(br#"{"model_type": "gpt2"}"#).unwrap_err();
/// assert_eq!(error.to_string(), "config.json: `model_type` is `gpt2`; llama, qwen2 and qwen3 are served");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub family: Family,
    /// Number of tokens.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward layers.
    pub intermediate: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of a head, which need not be `hidden / heads`.
    pub head: usize,
    /// Most positions in a sequence.
    pub context_tokens_max: usize,
    /// Addend under the root of the norms.
    pub norm_epsilon: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    pub rope_scaling: RopeScaling,
    /// True if the embedding serves as the output layer too.
    pub tied: bool,
    /// True if queries, keys and values have biases.
    pub qkv_bias: bool,
    /// True if the output layer of attention has a bias.
    pub output_bias: bool,
    /// True if the feed-forward layers have biases.
    pub mlp_bias: bool,
    /// Tokens that end a text, unless `generation_config.json` names others.
    pub end_tokens: Vec<u32>,
}

/// Refusal of a field of `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config.json: `{field}` {why}")]
pub struct ConfigError {
    pub field: String,
    pub why: String,
}

fn refuse<T>(field: &str, why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError {
        field: field.to_owned(),
        why: why.into(),
    })
}

impl Config {
    /// Parses `config.json`. Fields that do not change the numbers are ignored; an unsupported one is refused by its
    /// name.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let fields = match serde_json::from_slice(text) {
            Ok(fields) => Fields(fields),
            Err(error) => return refuse("{}", format!("is not a JSON object: {error}")),
        };
        let family = fields.family()?;
        fields.refuse_what_differs(family)?;
        let hidden = fields.count("hidden_size", 1..=65_536)?;
        let heads = fields.count("num_attention_heads", 1..=1024)?;
        let kv_heads = fields.count_or("num_key_value_heads", heads, 1..=1024)?;
        if heads % kv_heads != 0 {
            return refuse(
                "num_key_value_heads",
                format!("is {kv_heads}, which does not divide {heads} heads"),
            );
        }
        let default_head = match family {
            Family::Qwen3 => 128,
            Family::Llama | Family::Qwen2 => hidden / heads,
        };
        let head = fields.count_or("head_dim", default_head, 2..=1024)?;
        if head % 2 != 0 {
            return refuse("head_dim", format!("is {head}; positions are encoded in pairs"));
        }
        let context_tokens_max = fields.count("max_position_embeddings", 1..=1 << 24)?;
        let attention_bias = fields.flag("attention_bias", false)?;
        let (rope_theta, rope_scaling) = fields.rope(context_tokens_max)?;
        Ok(Self {
            family,
            vocabulary: fields.count("vocab_size", 1..=1 << 21)?,
            hidden,
            intermediate: fields.count("intermediate_size", 1..=1 << 18)?,
            layers: fields.count("num_hidden_layers", 1..=512)?,
            heads,
            kv_heads,
            head,
            context_tokens_max,
            norm_epsilon: fields.number("rms_norm_eps", 1e-6, 0.0..=1.0)? as f32,
            rope_theta,
            rope_scaling,
            tied: fields.flag("tie_word_embeddings", false)?,
            qkv_bias: attention_bias || family == Family::Qwen2,
            output_bias: attention_bias,
            mlp_bias: family == Family::Llama && fields.flag("mlp_bias", false)?,
            end_tokens: fields.end_tokens()?,
        })
    }
}

impl Config {
    /// Returns `[out, in]` of a linear layer.
    pub fn linear_shape(&self, site: Projection) -> [usize; 2] {
        let (queries, keys) = (self.heads * self.head, self.kv_heads * self.head);
        match site {
            Projection::Q => [queries, self.hidden],
            Projection::K | Projection::V => [keys, self.hidden],
            Projection::O => [self.hidden, queries],
            Projection::Gate | Projection::Up => [self.intermediate, self.hidden],
            Projection::Down => [self.hidden, self.intermediate],
        }
    }

    /// True if a linear layer has a bias.
    pub fn has_bias(&self, site: Projection) -> bool {
        match site {
            Projection::Q | Projection::K | Projection::V => self.qkv_bias,
            Projection::O => self.output_bias,
            Projection::Gate | Projection::Up | Projection::Down => self.mlp_bias,
        }
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn family(&self) -> Result<Family, ConfigError> {
        match self.get("model_type").and_then(Value::as_str) {
            Some("llama") => Ok(Family::Llama),
            Some("qwen2") => Ok(Family::Qwen2),
            Some("qwen3") => Ok(Family::Qwen3),
            Some(name) => refuse("model_type", format!("is `{name}`; llama, qwen2 and qwen3 are served")),
            None => refuse("model_type", "is missing; llama, qwen2 and qwen3 are served"),
        }
    }

    /// Refuses options that would change the numbers and are not computed here.
    fn refuse_what_differs(&self, family: Family) -> Result<(), ConfigError> {
        match self.get("hidden_act").and_then(Value::as_str) {
            None | Some("silu" | "swish") => (),
            Some(name) => return refuse("hidden_act", format!("is `{name}`; silu is computed")),
        }
        if self.flag("use_sliding_window", false)? {
            return refuse("use_sliding_window", "is set; full attention is computed");
        }
        if let Some(types) = self.get("layer_types").and_then(Value::as_array)
            && types.iter().any(|kind| kind != "full_attention")
        {
            return refuse("layer_types", "names a layer without full attention");
        }
        if self.get("quantization_config").is_some() {
            return refuse(
                "quantization_config",
                "is set; give the model in F32, F16 or BF16 and quantise it here",
            );
        }
        if family == Family::Llama && self.get("pretraining_tp").is_some_and(|tp| *tp != 1) {
            return refuse("pretraining_tp", "is not 1");
        }
        if family != Family::Llama && self.flag("attention_bias", false)? && family == Family::Qwen2 {
            return refuse("attention_bias", "is no option of qwen2");
        }
        Ok(())
    }

    fn count(&self, field: &str, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let value = self.get(field).map_or_else(|| refuse(field, "is missing"), Ok)?;
        match value.as_u64().and_then(|value| usize::try_from(value).ok()) {
            Some(value) if range.contains(&value) => Ok(value),
            _ => refuse(
                field,
                format!("is {value}; between {} and {} is accepted", range.start(), range.end()),
            ),
        }
    }

    fn count_or(&self, field: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        if self.get(field).is_some() {
            return self.count(field, range);
        }
        if range.contains(&default) {
            Ok(default)
        } else {
            refuse(field, "is missing and cannot be derived")
        }
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(value) => refuse(field, format!("is {value}; true or false is needed")),
        }
    }

    fn number(&self, field: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64, ConfigError> {
        number(&self.0, field, Some(default), range)
    }

    fn end_tokens(&self) -> Result<Vec<u32>, ConfigError> {
        token_list(self.get("eos_token_id"))
            .map_or_else(|| refuse("eos_token_id", "must be a token or a list of tokens"), Ok)
    }

    /// Reads the rotary base and its scaling: `rope_parameters` in new files, `rope_theta` and `rope_scaling` in
    /// older ones.
    fn rope(&self, context: usize) -> Result<(f64, RopeScaling), ConfigError> {
        let empty = Map::new();
        let parameters = match self.get("rope_parameters").or_else(|| self.get("rope_scaling")) {
            None => &empty,
            Some(Value::Object(parameters)) => parameters,
            Some(_) => return refuse("rope_scaling", "must be an object"),
        };
        let theta = if parameters.contains_key("rope_theta") {
            parameters
        } else {
            &self.0
        };
        let theta = number(theta, "rope_theta", Some(10_000.0), 1.0..=1e12)?;
        if number(parameters, "partial_rotary_factor", Some(1.0), 0.0..=1.0)? < 1.0 {
            return refuse("partial_rotary_factor", "is not 1");
        }
        let kind = parameters.get("rope_type").or_else(|| parameters.get("type"));
        let scaling = match kind.and_then(Value::as_str) {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear {
                factor: number(parameters, "factor", None, 1.0..=4096.0)?,
            },
            Some("llama3") => llama3(parameters)?,
            Some("yarn") => yarn(parameters, context)?,
            Some(name) => {
                return refuse(
                    "rope_type",
                    format!("is `{name}`; default, linear, llama3 and yarn are computed"),
                );
            }
        };
        Ok((theta, scaling))
    }
}

fn llama3(parameters: &Map<String, Value>) -> Result<RopeScaling, ConfigError> {
    let low = number(parameters, "low_freq_factor", None, 1e-3..=1e6)?;
    let high = number(parameters, "high_freq_factor", None, 1e-3..=1e6)?;
    if high <= low {
        return refuse("high_freq_factor", "must be above low_freq_factor");
    }
    Ok(RopeScaling::Llama3 {
        factor: number(parameters, "factor", None, 1.0..=4096.0)?,
        low,
        high,
        trained_tokens: number(parameters, "original_max_position_embeddings", None, 1.0..=1e9)?,
    })
}

fn yarn(parameters: &Map<String, Value>, context: usize) -> Result<RopeScaling, ConfigError> {
    let context = f64::from(u32::try_from(context).unwrap_or(u32::MAX));
    let trained_tokens = number(parameters, "original_max_position_embeddings", Some(context), 1.0..=1e9)?;
    let factor = number(parameters, "factor", Some(context / trained_tokens), 1.0..=4096.0)?;
    // YaRN, eq. 22; with `mscale` as DeepSeek's configurations use it.
    let warmth = |scale: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * scale * libm::log(factor) + 1.0
        }
    };
    let scale = number(parameters, "mscale", Some(0.0), 0.0..=100.0)?;
    let scale_all = number(parameters, "mscale_all_dim", Some(0.0), 0.0..=100.0)?;
    let default = if scale > 0.0 && scale_all > 0.0 {
        warmth(scale) / warmth(scale_all)
    } else {
        warmth(1.0)
    };
    Ok(RopeScaling::Yarn {
        factor,
        fast: number(parameters, "beta_fast", Some(32.0), 1e-3..=1e6)?,
        slow: number(parameters, "beta_slow", Some(1.0), 1e-3..=1e6)?,
        trained_tokens,
        attention: number(parameters, "attention_factor", Some(default), 1e-3..=1e3)?,
        truncate: parameters.get("truncate").and_then(Value::as_bool).unwrap_or(true),
    })
}

fn number(
    fields: &Map<String, Value>,
    field: &str,
    default: Option<f64>,
    range: RangeInclusive<f64>,
) -> Result<f64, ConfigError> {
    let value = match (fields.get(field).filter(|value| !value.is_null()), default) {
        (None, Some(default)) => return Ok(default),
        (None, None) => return refuse(field, "is missing"),
        (Some(value), _) => value,
    };
    match value.as_f64() {
        Some(number) if range.contains(&number) => Ok(number),
        _ => refuse(
            field,
            format!("is {value}; between {} and {} is accepted", range.start(), range.end()),
        ),
    }
}

/// Reads one token or a list of at most 1024; `None` if it is neither, an empty list if it is absent.
pub(crate) fn token_list(value: Option<&Value>) -> Option<Vec<u32>> {
    let one = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) if list.len() <= 1024 => list.iter().map(one).collect(),
        Some(value) => Some(vec![one(value)?]),
    }
}
