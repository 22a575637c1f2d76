//! `adapter_config.json` as PEFT writes it. Options that are not supported are refused by their name, because an
//! adapter with an ignored option would be another adapter.

#![allow(
    clippy::cast_possible_truncation,
    reason = "doubles are rounded to the singles that are computed with"
)]

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::site::{Projection, Site};

/// Largest rank that is accepted, so that a stranger's file cannot decide how much memory a slot takes.
pub const RANK_MAX: usize = 512;

/// Largest alpha, and what it becomes when a rank-stabilised adapter of the largest rank is written as plain LoRA.
const ALPHA_MAX: f64 = 1e6;
const PLAIN_ALPHA_MAX: f64 = 1e6 * 23.0;

/// Most entries of a list of patterns or targets.
const LIST_MAX: usize = 4096;

/// The parsed configuration of an adapter.
///
/// ```
/// use compute::lora::{AdapterConfig, Projection, Site};
///
/// let text = br#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}"#;
/// let config = AdapterConfig::parse(text).unwrap();
/// let site = |projection| Site { layer: 0, projection };
/// assert_eq!((config.rank(site(Projection::Q)), config.scale(site(Projection::Q))), (8, 2.0));
/// assert!(config.targets(site(Projection::Q)) && !config.targets(site(Projection::Down)));
/// ```
#[derive(Clone, Debug)]
pub struct AdapterConfig {
    rank: usize,
    alpha: f64,
    rank_stabilised: bool,
    rank_pattern: Vec<(Regex, usize)>,
    alpha_pattern: Vec<(Regex, f64)>,
    targets: Targets,
    layers: Option<Vec<u32>>,
    /// Name of the base model as the trainer wrote it; a hint for people, not checked.
    pub base_model: Option<String>,
}

/// Refusal of a field of `adapter_config.json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("adapter_config.json: `{field}` {why}")]
pub struct ConfigError {
    pub field: String,
    pub why: String,
}

#[derive(Clone, Debug)]
enum Targets {
    AllLinear,
    Named(Vec<String>),
    Pattern(Regex),
}

/// Fields that do not change the result of running the adapter.
const SILENT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "revision",
    "exclude_modules",
    "layers_pattern",
    "qalora_group_size",
    "ensure_weight_tying",
    "eva_config",
];

fn refuse<T>(field: &str, why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError {
        field: field.to_owned(),
        why: why.into(),
    })
}

impl AdapterConfig {
    /// Parses the configuration. Fails with the field that is malformed, out of range or not supported.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let fields: Map<String, Value> = match serde_json::from_slice(text) {
            Ok(fields) => fields,
            Err(error) => return refuse("{}", format!("is not a JSON object: {error}")),
        };
        for (field, value) in &fields {
            check(field, value)?;
        }
        if fields.get("peft_type").and_then(Value::as_str) != Some("LORA") {
            return refuse("peft_type", "must be LORA");
        }
        let ordered: Ordered = match serde_json::from_slice(text) {
            Ok(ordered) => ordered,
            Err(error) => return refuse("rank_pattern", format!("or another field has the wrong type: {error}")),
        };
        let rank = rank("r", ordered.r)?;
        let rank_stabilised = ordered.use_rslora.unwrap_or(false);
        let most = if rank_stabilised { ALPHA_MAX } else { PLAIN_ALPHA_MAX };
        let alpha = |field: &str, value| alpha(field, value, most);
        Ok(Self {
            rank,
            alpha: alpha("lora_alpha", ordered.lora_alpha)?,
            rank_stabilised,
            rank_pattern: patterns("rank_pattern", ordered.rank_pattern, rank_of)?,
            alpha_pattern: patterns("alpha_pattern", ordered.alpha_pattern, alpha)?,
            targets: targets(fields.get("target_modules"))?,
            layers: layers(fields.get("layers_to_transform"))?,
            base_model: ordered.base_model_name_or_path,
        })
    }

    /// Returns the rank at a site, by the first pattern that matches or the default.
    pub fn rank(&self, site: Site) -> usize {
        find(&self.rank_pattern, site).unwrap_or(self.rank)
    }

    /// Returns the factor of the product at a site: alpha over the rank, or over its root with rsLoRA.
    pub fn scale(&self, site: Site) -> f32 {
        let alpha = find(&self.alpha_pattern, site).unwrap_or(self.alpha);
        let rank = rank_as_f64(self.rank(site));
        // Rounded to a single here, so that writing the scale as an alpha and reading it again gives the same single.
        let scale = if self.rank_stabilised {
            alpha / rank.sqrt()
        } else {
            alpha / rank
        };
        scale as f32
    }

    /// True if the configuration names the site.
    pub fn targets(&self, site: Site) -> bool {
        let inside = self.layers.as_ref().is_none_or(|layers| layers.contains(&site.layer));
        let path = site.to_string();
        inside
            && match &self.targets {
                Targets::AllLinear => true,
                Targets::Named(names) => names.iter().any(|name| ends_with_module(&path, name)),
                Targets::Pattern(pattern) => pattern.is_match(&path),
            }
    }
}

/// Converts a rank, which is at most [`RANK_MAX`] and so exact.
pub(crate) fn rank_as_f64(rank: usize) -> f64 {
    f64::from(u32::try_from(rank).expect("ranks are small"))
}

fn ends_with_module(path: &str, name: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn find<T: Copy>(patterns: &[(Regex, T)], site: Site) -> Option<T> {
    if patterns.is_empty() {
        return None;
    }
    let path = site.to_string();
    patterns
        .iter()
        .find(|(pattern, _)| pattern.is_match(&path))
        .map(|(_, value)| *value)
}

/// Refuses an option that is set, changes the result and is not supported.
fn check(field: &str, value: &Value) -> Result<(), ConfigError> {
    let unset = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    };
    match field {
        "r"
        | "lora_alpha"
        | "use_rslora"
        | "rank_pattern"
        | "alpha_pattern"
        | "target_modules"
        | "layers_to_transform"
        | "peft_type" => Ok(()),
        _ if unset || SILENT.contains(&field) => Ok(()),
        "bias" if value == "none" => Ok(()),
        "task_type" if value == "CAUSAL_LM" => Ok(()),
        "init_lora_weights" => match value.as_str() {
            None => Ok(()),
            Some("gaussian" | "orthogonal" | "eva" | "true" | "false") => Ok(()),
            Some(name) => refuse(
                field,
                format!("is `{name}`, which changes the base weights; convert the adapter to plain LoRA"),
            ),
        },
        "bias" | "task_type" => refuse(
            field,
            format!("is {value}; only a causal model's adapter without biases is served"),
        ),
        _ => refuse(field, "is set and not supported"),
    }
}

/// The fields whose order or type matters, parsed a second time with their order.
#[derive(Deserialize)]
struct Ordered {
    r: Value,
    lora_alpha: Value,
    use_rslora: Option<bool>,
    #[serde(default)]
    rank_pattern: Option<Pairs>,
    #[serde(default)]
    alpha_pattern: Option<Pairs>,
    base_model_name_or_path: Option<String>,
}

/// A JSON object in the order in which it was written, since the first pattern that matches wins.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Reader)
    }
}

fn rank(field: &str, value: Value) -> Result<usize, ConfigError> {
    match value.as_u64().and_then(|rank| usize::try_from(rank).ok()) {
        Some(rank) if (1..=RANK_MAX).contains(&rank) => Ok(rank),
        _ => refuse(field, format!("is {value}; a rank is between 1 and {RANK_MAX}")),
    }
}

fn rank_of(field: &str, value: Value) -> Result<usize, ConfigError> {
    rank(field, value)
}

fn alpha(field: &str, value: Value, most: f64) -> Result<f64, ConfigError> {
    match value.as_f64() {
        Some(alpha) if alpha.is_finite() && alpha.abs() <= most => Ok(alpha),
        _ => refuse(field, format!("is {value}; a number up to {most} is needed")),
    }
}

fn patterns<T>(
    field: &str,
    pairs: Option<Pairs>,
    value: impl Fn(&str, Value) -> Result<T, ConfigError>,
) -> Result<Vec<(Regex, T)>, ConfigError> {
    let pairs = pairs.map_or_else(Vec::new, |pairs| pairs.0);
    if pairs.len() > LIST_MAX {
        return refuse(
            field,
            format!("has {} entries; at most {LIST_MAX} are accepted", pairs.len()),
        );
    }
    pairs
        .into_iter()
        .map(|(key, number)| Ok((regex(field, &format!(r"^(?:.*\.)?(?:{key})$"))?, value(field, number)?)))
        .collect()
}

fn regex(field: &str, pattern: &str) -> Result<Regex, ConfigError> {
    let built = RegexBuilder::new(pattern).size_limit(1 << 18).build();
    built.or_else(|error| refuse(field, format!("holds a pattern that cannot be used: {error}")))
}

fn targets(value: Option<&Value>) -> Result<Targets, ConfigError> {
    const FIELD: &str = "target_modules";
    match value {
        Some(Value::String(name)) if name == "all-linear" => Ok(Targets::AllLinear),
        Some(Value::String(pattern)) => Ok(Targets::Pattern(regex(FIELD, &format!("^(?:{pattern})$"))?)),
        Some(Value::Array(list)) if !list.is_empty() && list.len() <= LIST_MAX => {
            let names: Option<Vec<String>> = list.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            let Some(names) = names else {
                return refuse(FIELD, "must hold names of modules");
            };
            for name in &names {
                let last = name.rsplit('.').next().unwrap_or(name);
                if !Projection::ALL.into_iter().any(|projection| projection.name() == last) {
                    return refuse(FIELD, format!("names `{name}`, which takes no adapter here"));
                }
            }
            Ok(Targets::Named(names))
        }
        _ => refuse(FIELD, "must be a list of modules or a pattern"),
    }
}

fn layers(value: Option<&Value>) -> Result<Option<Vec<u32>>, ConfigError> {
    const FIELD: &str = "layers_to_transform";
    let one = |value: &Value| value.as_u64().and_then(|layer| u32::try_from(layer).ok());
    let listed = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) if list.is_empty() => return Ok(None),
        Some(Value::Array(list)) if list.len() <= LIST_MAX => list.iter().map(one).collect(),
        Some(value) => one(value).map(|layer| vec![layer]),
    };
    match listed {
        Some(layers) => Ok(Some(layers)),
        None => refuse(FIELD, "must be a block or a list of blocks"),
    }
}

/// The configuration that is written and hashed: every option that matters, no other, in a fixed order.
#[derive(Serialize)]
pub(crate) struct Canonical {
    pub(crate) alpha_pattern: std::collections::BTreeMap<String, f64>,
    pub(crate) bias: &'static str,
    pub(crate) lora_alpha: f64,
    pub(crate) peft_type: &'static str,
    pub(crate) r: usize,
    pub(crate) rank_pattern: std::collections::BTreeMap<String, usize>,
    pub(crate) target_modules: Vec<String>,
    pub(crate) task_type: &'static str,
}

#[cfg(test)]
#[path = "tests/config.rs"]
mod tests;
