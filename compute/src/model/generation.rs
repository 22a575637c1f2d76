//! `generation_config.json`: the sampling defaults that a model's makers recommend.

#![allow(
    clippy::cast_possible_truncation,
    reason = "doubles are rounded to the singles that are computed with"
)]

use std::{io, path::Path};

use serde_json::{Map, Value};

use super::{Config, ModelError, config::token_list};
use crate::tensors::read_small;

const FILE: &str = "generation_config.json";

/// Sampling defaults of a model. A `None` is decided by the sampler's own default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// True to sample, false to take the likeliest token.
    pub sample: Option<bool>,
    /// Divisor of the logits, 0 to 100.
    pub temperature: Option<f32>,
    /// Number of the likeliest tokens that are kept.
    pub top_k: Option<u32>,
    /// Sum of probability that is kept (nucleus sampling), 0 to 1.
    pub top_p: Option<f32>,
    /// Tokens are kept down to this fraction of the likeliest token's probability, 0 to 1.
    pub min_p: Option<f32>,
    /// Divisor of the logits of tokens that occurred before, 0.01 to 100.
    pub repetition_penalty: Option<f32>,
    /// Tokens that end a text.
    pub end_tokens: Vec<u32>,
}

impl Generation {
    /// Reads the file; a model without it has only the end tokens of its configuration.
    pub fn load(dir: &Path, config: &Config) -> Result<Self, ModelError> {
        match read_small(&dir.join(FILE), 1 << 20) {
            Ok(text) => Self::parse(&text, config),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self {
                end_tokens: config.end_tokens.clone(),
                ..Self::default()
            }),
            Err(source) => Err(ModelError::Read {
                file: FILE.to_owned(),
                source,
            }),
        }
    }

    /// Parses the bytes of the file, as [`Self::load`]. Values out of range are refused by their field.
    pub fn parse(text: &[u8], config: &Config) -> Result<Self, ModelError> {
        let fields: Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| refuse("{}", format!("is not a JSON object: {error}")))?;
        let number = |field: &str, low: f64, high: f64| match fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if (low..=high).contains(&number) => Ok(Some(number as f32)),
                _ => Err(refuse(
                    field,
                    format!("is {value}; between {low} and {high} is accepted"),
                )),
            },
        };
        let top_k = match fields.get("top_k") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let top_k = value.as_u64().and_then(|top_k| u32::try_from(top_k).ok());
                Some(top_k.ok_or_else(|| refuse("top_k", format!("is {value}; a count is needed")))?)
            }
        };
        let listed = token_list(fields.get("eos_token_id"));
        let mut end_tokens =
            listed.ok_or_else(|| refuse("eos_token_id", "must be a token or a list of tokens".to_owned()))?;
        if end_tokens.is_empty() {
            end_tokens = config.end_tokens.clone();
        }
        Ok(Self {
            sample: fields.get("do_sample").and_then(Value::as_bool),
            temperature: number("temperature", 0.0, 100.0)?,
            top_k,
            top_p: number("top_p", 0.0, 1.0)?,
            min_p: number("min_p", 0.0, 1.0)?,
            repetition_penalty: number("repetition_penalty", 0.01, 100.0)?,
            end_tokens,
        })
    }
}

fn refuse(field: &str, why: String) -> ModelError {
    ModelError::Generation {
        field: field.to_owned(),
        why,
    }
}
