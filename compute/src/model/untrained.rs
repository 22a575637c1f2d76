//! Models with initial weights, to be trained from their first token on.

use super::{Config, Family, Model, RopeScaling};
use crate::{
    lora::Projection,
    random::{Random, Stream},
};

/// The sizes of a model that is trained from nothing. Heads are `hidden / heads` wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
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
    /// Number of key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Most positions in a sequence.
    pub context_tokens_max: usize,
    /// True if the embedding serves as the output layer too.
    pub tied: bool,
}

/// Refusal of a size, by its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {value}, which {why}")]
pub struct DimensionError {
    pub field: &'static str,
    pub value: usize,
    pub why: &'static str,
}

/// Standard deviation of the initial weights: Radford et al., 2019.
pub(super) const SPREAD: f32 = 0.02;

impl Config {
    /// Makes a configuration of Llama's shape whose texts end with the token `end`. Fails on a size that fits no
    /// model.
    ///
    /// ```
    /// use compute::model::{Config, Dimensions};
    ///
    /// let dimensions = Dimensions {
    ///     vocabulary: 64, hidden: 16, intermediate: 32, layers: 2, heads: 4, kv_heads: 2, context_tokens_max: 32, tied: true,
    /// };
    /// assert_eq!(Config::llama(dimensions, 0).unwrap().head, 4);
    /// let error = Config::llama(Dimensions { heads: 3, ..dimensions }, 0).unwrap_err();
    /// assert_eq!(error.field, "heads");
    /// ```
    pub fn llama(dimensions: Dimensions, end: u32) -> Result<Self, DimensionError> {
        let Dimensions {
            vocabulary,
            hidden,
            intermediate,
            layers,
            heads,
            kv_heads,
            context_tokens_max,
            tied,
        } = dimensions;
        let refuse = |field, value, why| Err(DimensionError { field, value, why });
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
}

impl Model {
    /// Makes a model with initial weights: normal, norms 1 and biases 0.
    ///
    /// Layers that write to the residual stream begin narrower, by the root of the number of such layers (GPT-2). The
    /// result is a function of configuration and seed, the same on every machine.
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
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::model) fn dimensions() -> Dimensions {
        Dimensions {
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

    pub(in crate::model) fn numbers(model: &Model, name: &str) -> Vec<f32> {
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
        let model = Model::untrained(&Config::llama(dimensions(), 1).unwrap(), 7);
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
    fn the_same_seed_is_the_same_model_and_another_is_not() {
        let config = Config::llama(dimensions(), 1).unwrap();
        let name = "model.embed_tokens.weight";
        let of = |seed| numbers(&Model::untrained(&config, seed), name);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn extents_that_make_no_model_are_refused_by_name() {
        let check = |dimensions: Dimensions, field: &str| {
            assert_eq!(Config::llama(dimensions, 1).unwrap_err().field, field);
        };
        check(
            Dimensions {
                heads: 3,
                ..dimensions()
            },
            "heads",
        );
        check(
            Dimensions {
                kv_heads: 3,
                ..dimensions()
            },
            "kv_heads",
        );
        check(
            Dimensions {
                layers: 0,
                ..dimensions()
            },
            "layers",
        );
        check(
            Dimensions {
                vocabulary: 1,
                ..dimensions()
            },
            "vocabulary",
        );
    }
}
