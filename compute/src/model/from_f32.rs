//! Models from numbers in memory, rounded to a narrower type on the way.

use std::sync::Arc;

use half::{bf16, f16};

use super::{Config, Model, files::Tensors};
use crate::tensors::{Bytes, Dtype};

impl Model {
    /// Makes a model of that configuration with the numbers given for each tensor name, each rounded to the nearest
    /// of `dtype`.
    ///
    /// # Panics
    ///
    /// If the numbers of a tensor do not fill its shape.
    pub fn from_f32(config: &Config, dtype: Dtype, numbers: impl Fn(&str) -> Vec<f32>) -> Self {
        let tensors = config.tensors().into_iter().map(|(name, shape)| {
            let numbers = numbers(&name);
            assert_eq!(
                numbers.len(),
                shape.iter().product::<usize>(),
                "{name} has its dimensions"
            );
            let bytes = Bytes::all(Arc::new(bytes(&numbers, dtype)));
            (name, (dtype, shape, bytes))
        });
        Self {
            tensors: Tensors::of(tensors.collect()),
            config: config.clone(),
        }
    }
}

fn bytes(numbers: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        Dtype::F16 => numbers
            .iter()
            .flat_map(|number| f16::from_f32(*number).to_le_bytes())
            .collect(),
        Dtype::BF16 => numbers
            .iter()
            .flat_map(|number| bf16::from_f32(*number).to_le_bytes())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::untrained::tests::{dimensions, numbers};

    #[test]
    fn numbers_are_rounded_to_the_nearest_of_their_width() {
        let config = Config::llama(dimensions(), 1).unwrap();
        let first = |dtype| {
            let model = Model::from_f32(&config, dtype, |name| {
                let count: usize = config.tensors()[name].iter().product();
                vec![1.003_9; count]
            });
            numbers(&model, "model.norm.weight")[0]
        };
        assert_eq!(first(Dtype::F32), 1.003_9);
        assert_eq!(first(Dtype::F16), 1.003_906_2);
        assert_eq!(first(Dtype::BF16), 1.0);
    }
}
